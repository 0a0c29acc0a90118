"""What an environment is, and how one becomes many.

The end of an episode has a row of its own: ``step`` returns the true last observation with
``terminated`` or ``truncated`` set, and the next ``step`` ignores the action and returns the first
row of a new episode. A row that ends an episode therefore has no transition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.types import PyTree


@struct.dataclass
class TimeStep:
    """One row. No leading axis in an ``Env``, the axis E in a ``VecEnv``."""

    obs: Float[Array, "*E N O"]
    state: Float[Array, "*E D"]
    avail_actions: Bool[Array, "*E N A"]
    """at least one action of every agent is legal, in last rows too"""
    reward: Float[Array, "*E"]
    """of the transition that led here, one number for the team; 0 in a first row"""
    terminated: Bool[Array, "*E"]
    """the episode ended for good: nothing of value can follow"""
    truncated: Bool[Array, "*E"]
    """the episode was cut by a time limit, and not terminated: bootstrap from this row"""
    first: Bool[Array, "*E"]
    won: Bool[Array, "*E"]
    """true only in the last row of a won episode"""

    @property
    def last(self) -> Bool[Array, "*E"]:
        return self.terminated | self.truncated


class EnvSpec(NamedTuple):
    """The sizes of an environment; ``horizon`` is the most transitions an episode can have."""

    name: str
    n_agents: int
    n_actions: int
    obs_size: int
    state_size: int
    horizon: int
    has_win: bool


class Env(NamedTuple):
    """One environment as pure functions, which does not start anew by itself.

    ``reset(key) -> (state, row)``; ``step(key, state, action [N]) -> (state, row)``, undefined
    after a last row.
    """

    spec: EnvSpec
    reset: Callable[[PRNGKeyArray], tuple[PyTree, TimeStep]]
    step: Callable[[PRNGKeyArray, PyTree, Int[Array, "N"]], tuple[PyTree, TimeStep]]


class VecEnv(NamedTuple):
    """E environments at once, which start anew by themselves (see the module's docstring).

    ``reset(key) -> (state, rows)``; ``step(state, action [E, N]) -> (state, rows)``.
    """

    spec: EnvSpec
    n_envs: int
    reset: Callable[[PRNGKeyArray], tuple[PyTree, TimeStep]]
    step: Callable[[PyTree, Int[Array, "E N"]], tuple[PyTree, TimeStep]]


@struct.dataclass
class VecState:
    """The episodes that E environments are playing, and the ones they will start next."""

    env: PyTree
    ended: Bool[Array, "E"]
    spare_env: PyTree
    spare_row: TimeStep
    cursor: Int[Array, ""]
    """the first spare to be redrawn at the next step"""
    key: PRNGKeyArray


def first_row(
    obs: Float[Array, "N O"], state: Float[Array, "D"], avail_actions: Bool[Array, "N A"]
) -> TimeStep:
    """The row that opens an episode."""
    no = jnp.zeros((), bool)
    return TimeStep(obs, state, avail_actions, jnp.zeros(()), no, no, ~no, no)


def vectorise(env: Env, n_envs: int, *, reset_period: int = 8) -> VecEnv:
    """``n_envs`` copies of ``env``, whose restarts cost a fraction of a reset per step.

    Every environment keeps a spare: an episode ready to start. Each step redraws the next few
    spares, so that all are redrawn within ``reset_period`` steps (or within the longest episode
    where that is shorter), whether they were used or not. An environment which ends an episode
    of fewer steps than that may start twice from the same draw; ``reset_period=1`` excludes it.

    Raises ValueError unless ``n_envs`` and ``reset_period`` are at least 1.
    """
    if n_envs < 1 or reset_period < 1:
        raise ValueError(f"need n_envs >= 1 and reset_period >= 1, got {n_envs}, {reset_period}")
    period = min(reset_period, env.spec.horizon + 1)
    n_redrawn = math.ceil(n_envs / period)

    def reset(key: PRNGKeyArray) -> tuple[VecState, TimeStep]:
        keys = jax.random.split(key, 1 + 2 * n_envs)
        drawn = jax.vmap(env.reset)(keys[1:])
        state, row = jax.tree.map(lambda leaf: leaf[:n_envs], drawn)
        spare_env, spare_row = jax.tree.map(lambda leaf: leaf[n_envs:], drawn)
        cursor = jnp.zeros((), jnp.int32)
        return VecState(state, row.last, spare_env, spare_row, cursor, keys[0]), row

    def step(state: VecState, action: Int[Array, "E N"]) -> tuple[VecState, TimeStep]:
        keys = jax.random.split(state.key, 1 + n_envs + n_redrawn)
        moved = jax.vmap(env.step)(keys[1 : n_envs + 1], state.env, action)
        spares = (state.spare_env, state.spare_row)
        env_state, row = jax.tree.map(lambda new, old: _where(state.ended, new, old), spares, moved)

        redrawn = jax.vmap(env.reset)(keys[n_envs + 1 :])
        at = jnp.minimum(state.cursor, n_envs - n_redrawn)
        spare_env, spare_row = jax.tree.map(
            lambda all_, few: jax.lax.dynamic_update_slice_in_dim(all_, few, at, axis=0),
            spares,
            redrawn,
        )
        cursor = jnp.where(at + n_redrawn >= n_envs, 0, at + n_redrawn)
        return VecState(env_state, row.last, spare_env, spare_row, cursor, keys[0]), row

    return VecEnv(env.spec, n_envs, reset, step)


def _where(mask: Bool[Array, "E"], yes: Array, no: Array) -> Array:
    return jnp.where(mask.reshape(mask.shape + (1,) * (yes.ndim - 1)), yes, no)
