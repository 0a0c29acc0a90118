"""What an environment is, and how one becomes many.

The end of an episode has a time step of its own: ``step`` returns the true last observation with
``terminated`` or ``truncated`` set, and the next ``step`` ignores the action and returns the first
time step of a new episode. A time step that ends an episode therefore has no transition.

E environments, N agents, A actions, O numbers in an agent's observation, D in the global state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.envs.view import View
from knife_jax.types import PyTree


class TimeStep(struct.PyTreeNode):
    """What an environment returns. No leading axis in an ``Env``, the axis E in a ``VecEnv``."""

    obs: Float[Array, "*E N O"]
    state: Float[Array, "*E D"]
    avail_actions: Bool[Array, "*E N A"]
    """at least one action of every agent is available, in last time steps too"""
    reward: Float[Array, "*E"]
    """of the transition that led here, one number for the team; 0 in a first time step"""
    terminated: Bool[Array, "*E"]
    """the episode ended for good: nothing of value can follow"""
    truncated: Bool[Array, "*E"]
    """the episode was cut by a time limit, and not terminated: bootstrap from this time step"""
    first: Bool[Array, "*E"]
    """it opens an episode; without a last time step before it the one before broke off (a fault of
    a game outside of jax, say), and no transition leads here"""
    won: Bool[Array, "*E"]
    """true only in the last time step of a won episode"""

    @property
    def last(self) -> Bool[Any, "*E"]:
        return self.terminated | self.truncated


class EnvSpec(NamedTuple):
    """The sizes of an environment; ``horizon`` is the most transitions that an episode can have."""

    name: str
    n_agents: int
    n_actions: int
    obs_size: int
    state_size: int
    horizon: int
    has_win: bool


class Env(NamedTuple):
    """One environment as pure functions, without auto-reset.

    ``reset(key) -> (state, time step)``; ``step(key, state, action [N]) -> (state, time step)``,
    undefined after a last time step.
    """

    spec: EnvSpec
    reset: Callable[[PRNGKeyArray], tuple[PyTree, TimeStep]]
    step: Callable[[PRNGKeyArray, PyTree, Int[Array, "N"]], tuple[PyTree, TimeStep]]
    view: View | None = None
    """how it is drawn in recordings"""


class VecEnv(NamedTuple):
    """E environments at once, with next-step auto-reset (see the module's docstring).

    ``reset(key) -> (state, time step)``; ``step(state, action [E, N]) -> (state, time step)``.
    If the games run outside of jax, ``again(key, state)`` begins new episodes in those of a state.
    """

    spec: EnvSpec
    n_envs: int
    reset: Callable[[PRNGKeyArray], tuple[PyTree, TimeStep]]
    step: Callable[[PyTree, Int[Array, "E N"]], tuple[PyTree, TimeStep]]
    again: Callable[[PRNGKeyArray, PyTree], tuple[PyTree, TimeStep]] | None = None
    view: View | None = None


class VecState(struct.PyTreeNode):
    """The current episodes of E environments, and the ones that start next."""

    env: PyTree
    ended: Bool[Array, "E"]
    spare_env: PyTree
    spare_first: TimeStep
    cursor: Int[Array, ""]
    """the first spare to be redrawn at the next step"""
    key: PRNGKeyArray


def first_step(
    obs: Float[Array, "N O"], state: Float[Array, "D"], avail_actions: Bool[Array, "N A"]
) -> TimeStep:
    """The time step that opens an episode."""
    no = jnp.zeros((), bool)
    return TimeStep(obs, state, avail_actions, jnp.zeros(()), no, no, ~no, no)


def vectorise(env: Env, n_envs: int, *, reset_period: int = 8) -> VecEnv:
    """Make ``n_envs`` copies of ``env`` with auto-reset at a fraction of a reset per step.

    Every environment keeps a spare: an episode ready to start. Each step redraws the next few
    spares, so that all are redrawn within ``reset_period`` steps (or within the longest episode
    if that is shorter), whether they were used or not. An environment that ends an episode
    of fewer steps than that may start twice from one draw; ``reset_period=1`` excludes it.

    Args:
        env: the single environment.
        n_envs: number of copies E.
        reset_period: number of steps within which all spares are redrawn.

    Returns:
        The environments as one ``VecEnv``.

    Raises:
        ValueError: if ``n_envs`` or ``reset_period`` is less than 1.
    """
    if n_envs < 1 or reset_period < 1:
        raise ValueError(f"need n_envs >= 1 and reset_period >= 1, got {n_envs}, {reset_period}")
    period = min(reset_period, env.spec.horizon + 1)
    n_redrawn = math.ceil(n_envs / period)

    def reset(key: PRNGKeyArray) -> tuple[VecState, TimeStep]:
        keys = jax.random.split(key, 1 + 2 * n_envs)
        drawn = jax.vmap(env.reset)(keys[1:])
        state, now = jax.tree.map(lambda leaf: leaf[:n_envs], drawn)
        spare_env, spare_first = jax.tree.map(lambda leaf: leaf[n_envs:], drawn)
        cursor = jnp.zeros((), jnp.int32)
        return VecState(state, now.last, spare_env, spare_first, cursor, keys[0]), now

    def step(state: VecState, action: Int[Array, "E N"]) -> tuple[VecState, TimeStep]:
        keys = jax.random.split(state.key, 1 + n_envs + n_redrawn)
        moved = jax.vmap(env.step)(keys[1 : n_envs + 1], state.env, action)
        spares = (state.spare_env, state.spare_first)
        env_state, now = jax.tree.map(lambda new, old: _where(state.ended, new, old), spares, moved)

        redrawn = jax.vmap(env.reset)(keys[n_envs + 1 :])
        at = jnp.minimum(state.cursor, n_envs - n_redrawn)
        spare_env, spare_first = jax.tree.map(
            lambda all_, few: jax.lax.dynamic_update_slice_in_dim(all_, few, at, axis=0),
            spares,
            redrawn,
        )
        cursor = jnp.where(at + n_redrawn >= n_envs, 0, at + n_redrawn)
        return VecState(env_state, now.last, spare_env, spare_first, cursor, keys[0]), now

    view = env.view
    if view is not None:
        each = jax.vmap(view.look)
        view = view._replace(look=lambda state, now: each(state.env, now))
    return VecEnv(env.spec, n_envs, reset, step, view=view)


def _where(mask: Bool[Array, "E"], yes: Array, no: Array) -> Array:
    return jnp.where(mask.reshape(mask.shape + (1,) * (yes.ndim - 1)), yes, no)
