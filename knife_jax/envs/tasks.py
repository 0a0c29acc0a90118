"""Tasks as data: one program plays any of them, because their parameters are arrays [K, ...]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from knife_jax.envs.base import VecEnv
from knife_jax.types import PyTree


@runtime_checkable
class Games(Protocol):
    """The games of a run outside of jax."""

    def open(self, config: Any, folder: Any, training: bool = True) -> None:
        """Start them in the background, those of training if they are needed. ``folder`` gets
        their log."""
        ...

    def check(self) -> None:
        """Raise ``GamesError`` if they gave up."""
        ...

    def report(self) -> dict[str, Float[np.ndarray, "S"]]:
        """Counts since the last report, for each seed."""
        ...

    def close(self) -> None:
        """End them all."""
        ...


TaskSeed = int | tuple[int, int]
"""what draws tasks: ``env.task_seed``, with the run's seed if each seed has tasks of its own"""


class Tasks(NamedTuple):
    """K tasks with equal array sizes, the same for all S seeds of a run or drawn for each."""

    n: int
    params: PyTree
    """leaves [K, ...]: the parameters of each task; None for a single task without parameters"""
    make: Callable[[PyTree, int], VecEnv]
    """(one task's parameters, which may be traced; number of environments)"""
    optimum: Float[np.ndarray, "*S K"] | None = None
    """the best expected return of each task, if known"""
    games: Games | None = None
    """what must be opened before an environment is reset, if it is outside of jax"""
    evaluation: Callable[[Int[Array, ""], int, Int[Array, ""]], VecEnv] | None = None
    """(task, number of games, first episode): where ``games`` are evaluated"""
    own: PyTree = None
    """leaves [S, K, ...]: what each seed has in place of ``params``; None if all have these"""

    def optima(self, n_seeds: int) -> Float[np.ndarray, "S K"] | None:
        """``optimum`` of each seed."""
        if self.optimum is None:
            return None
        return np.broadcast_to(self.optimum, (n_seeds, self.n))

    def env(self, task: Int[Array, ""] | int, n_envs: int, own: PyTree = None) -> VecEnv:
        """The environment of a task; counts beyond K start over.

        ``own``, leaves [K, ...], are the tasks of a seed that has its own.
        """
        params = self.params if own is None else own
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf)[task % self.n], params)
        return self.make(params, n_envs)


def single(make: Callable[[int], VecEnv], optimum: float | None = None) -> Tasks:
    """The one task of an environment without parameters."""
    best = None if optimum is None else np.array([optimum])
    return Tasks(1, None, lambda _, n_envs: make(n_envs), best)


def of_each_seed(drawings: Sequence[Tasks]) -> Tasks:
    """The tasks of seeds that have their own, from those of each; all have equal array sizes."""
    first = drawings[0]
    own = jax.tree.map(lambda *leaves: np.stack(leaves), *(each.params for each in drawings))
    known = [each.optimum for each in drawings if each.optimum is not None]
    return first._replace(own=own, optimum=np.stack(known) if known else None)


def shuffled(tasks: Tasks, seed: TaskSeed) -> Tasks:
    """The tasks in a random order."""
    order = np.random.default_rng(seed).permutation(tasks.n)
    params = jax.tree.map(lambda leaf: np.asarray(leaf)[order], tasks.params)
    optimum = None if tasks.optimum is None else tasks.optimum[order]
    return tasks._replace(params=params, optimum=optimum)
