"""Environments whose games run outside of jax: each reset and each step is one host callback.

The callback is unordered and ``vmap`` over seeds makes one call of it for all of them. Order
follows from data: a state holds the number of its next turn, which the host checks. A call never
raises; if the games give up, all rows are first rows, of episodes that broke off. Neither may be
used inside ``cond`` or a vmapped ``while_loop``, which callbacks do not support.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental import io_callback
from jaxtyping import Array, Int, PRNGKeyArray

from knife_jax.config.schema import ConfigError
from knife_jax.envs.base import EnvSpec, TimeStep, VecEnv
from knife_jax.types import PyTree

MOST_BYTES = 64 * 1024
"""of an argument: two devices whose callbacks get more than 100 KiB wait for each other for ever"""


class Seats(struct.PyTreeNode):
    """Which games a seed has, and how often they have been called."""

    seat: Int[Array, ""]
    turn: Int[Array, ""]


@runtime_checkable
class Host(Protocol):
    """The games of B seats, E each, in NumPy alone. Neither call raises."""

    def reset(
        self, task: Any, seat: Any, turn: Any, key: Any, first: Any, /
    ) -> tuple[Any, Any, Any]:
        """Begin the episodes ``first + j`` of a key ``[B, 2]`` in the seats; -1 is the next one,
        whose turn is not checked.

        Returns seats and turns ``[B]``, and rows ``[B, E, ...]`` in the order of ``TimeStep``.
        """
        ...

    def step(self, task: Any, seat: Any, turn: Any, action: Any, /) -> tuple[Any, Any]:
        """Take the actions ``[B, E, N]``; games of another task than ``task`` begin that one.

        Returns turns ``[B]`` and rows.
        """
        ...


def outside(
    spec: EnvSpec, n_envs: int, host: Host, task: Int[Array, ""] | int, first: Any = 0
) -> VecEnv:
    """The games of one seat as a ``VecEnv``, its state being ``Seats``.

    ``first`` is the number of the first episode that a reset begins. Raises ``ConfigError`` if the
    actions of all seeds of a device exceed ``MOST_BYTES``.
    """
    number, rows = jax.eval_shape(lambda: (jnp.zeros((), jnp.int32), _rows(spec, n_envs)))
    task = jnp.asarray(task, jnp.int32)

    def begin(key: PRNGKeyArray, seat: Any, turn: Any) -> tuple[Seats, TimeStep]:
        bits = jax.random.bits(key, (2,), jnp.uint32)
        given = task, jnp.int32(seat), jnp.int32(turn), bits, jnp.int32(first)
        seat, turn, now = _called(host.reset, (number, number, rows), *given)
        return Seats(seat, turn), now

    def step(state: Seats, action: Int[Array, "E N"]) -> tuple[Seats, TimeStep]:
        given = task, state.seat, state.turn, action.astype(jnp.int32)
        turn, now = _called(host.step, (number, rows), *given)
        return state.replace(turn=turn), now

    return VecEnv(
        spec,
        n_envs,
        reset=lambda key: begin(key, -1, 0),
        step=step,
        again=lambda key, state: begin(key, state.seat, state.turn),
    )


def _rows(spec: EnvSpec, e: int) -> TimeStep:
    """A ``TimeStep`` of E games, of which only the shapes count."""
    no = jnp.zeros(e, bool)
    agents = (e, spec.n_agents)
    return TimeStep(
        obs=jnp.zeros((*agents, spec.obs_size)), state=jnp.zeros((e, spec.state_size)),
        avail_actions=jnp.zeros((*agents, spec.n_actions), bool), reward=jnp.zeros(e),
        terminated=no, truncated=no, first=no, won=no,
    )  # fmt: skip


def _called(method: Callable[..., Any], out: PyTree, *arguments: Array) -> Any:
    """What ``method`` returns, called once for all that ``vmap`` maps over."""
    leaves, tree = jax.tree.flatten(out)

    @jax.custom_batching.custom_vmap
    def call(*arguments: Array) -> list[Array]:
        lead = arguments[0].shape
        if (most := max(a.nbytes for a in arguments)) > MOST_BYTES:
            raise ConfigError(
                f"the actions of the games of one device take {most:,} bytes: must be at most "
                f"{MOST_BYTES:,}, so choose fewer env.n_envs or num_seeds, or more devices"
            )

        def ask(*arguments: Any) -> list[np.ndarray]:
            # copies: the buffers of jax are used again
            flat = [np.array(a).reshape((-1, *a.shape[len(lead) :])) for a in arguments]
            got = jax.tree.leaves(tuple(method(*flat)))
            return [
                np.asarray(a, leaf.dtype).reshape((*lead, *leaf.shape))
                for a, leaf in zip(got, leaves, strict=True)
            ]

        shapes = [jax.ShapeDtypeStruct((*lead, *leaf.shape), leaf.dtype) for leaf in leaves]
        return io_callback(ask, shapes, *arguments)

    @call.def_vmap
    def for_all(size: int, mapped: list[bool], *arguments: Array):
        every = [
            a if is_mapped else jnp.broadcast_to(a, (size, *a.shape))
            for a, is_mapped in zip(arguments, mapped, strict=True)
        ]
        return call(*every), [True] * len(leaves)

    return tree.unflatten(call(*arguments))
