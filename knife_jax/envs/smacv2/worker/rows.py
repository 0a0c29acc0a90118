"""What a game is for its worker, and how rows lie in the memory shared with the trainer."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np


class Sizes(NamedTuple):
    """N agents, A actions, O numbers in an observation, D in the state, most transitions."""

    n_agents: int
    n_actions: int
    obs_size: int
    state_size: int
    horizon: int


class Order(NamedTuple):
    """Which episode is to begin: its scenario is a function of this alone."""

    task: int
    key: int
    """64 bits, of the seed or the evaluation"""
    game: int
    episode: int
    """how many the game has begun since its key was given"""


class Row(NamedTuple):
    """A time step of one game."""

    obs: Any
    """[N, O] float32"""
    state: Any
    """[D] float32"""
    avail_actions: Any
    """[N, A] bool"""
    reward: float
    terminated: bool
    truncated: bool
    won: bool


class Game(Protocol):
    """Made by ``"module:Class"(settings)`` in the worker. Any exception is a fault: the process
    ends, and none of its objects is used again."""

    sizes: Sizes
    recycled: int
    """how often it has started its game anew because the old one was near its limit"""

    def reset(self, order: Order) -> Row:
        """Begin an episode."""
        ...

    def step(self, action: Any) -> Row:
        """Take the actions ``[N]`` of an episode that has not ended."""
        ...

    def close(self) -> None:
        """End the game."""
        ...


def shapes(sizes: Sizes) -> dict[str, Any]:
    """Name -> (shape, dtype) of what a worker and the trainer tell each other of one game."""
    n, flag = sizes.n_agents, np.bool_
    return {
        "obs": ((n, sizes.obs_size), np.float32),
        "state": ((sizes.state_size,), np.float32),
        "avail_actions": ((n, sizes.n_actions), flag),
        "reward": ((), np.float32),
        "terminated": ((), flag),
        "truncated": ((), flag),
        "won": ((), flag),
        "action": ((n,), np.int32),
        "order": ((len(Order._fields),), np.uint64),
    }


def n_bytes(sizes: Sizes, n_games: int) -> int:
    """The size of the memory of ``n_games``."""
    return sum(_aligned(shape, dtype, n_games) for shape, dtype in shapes(sizes).values())


def arrays(memory: Any, sizes: Sizes, n_games: int) -> dict[str, Any]:
    """The memory as arrays ``[G, ...]`` by name."""
    found, at = {}, 0
    for name, (shape, dtype) in shapes(sizes).items():
        found[name] = np.ndarray((n_games, *shape), dtype, memory, at)
        at += _aligned(shape, dtype, n_games)
    return found


def _aligned(shape: Any, dtype: Any, n_games: int) -> int:
    size = n_games * int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return -(-size // 64) * 64
