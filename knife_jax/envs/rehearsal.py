"""Random play of an environment before it is trained in, with every step held to its contract."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.envs.base import EnvSpec, TimeStep, VecEnv
from knife_jax.envs.contract import breaches

REHEARSED = 1000
"""steps at most of a rehearsal"""


class Rehearsal(NamedTuple):
    """T steps of E environments under random actions."""

    breaches: dict[str, Int[Array, ""]]
    """how often each clause of the contract was broken"""
    returns: Float[Array, "T E"]
    """of the episode up to each step"""
    lengths: Int[Array, "T E"]
    """transitions of the episode up to each step"""
    last: Bool[Array, "T E"]
    """where an episode ends"""
    won: Bool[Array, "T E"]
    seen: Float[Array, "T E"]
    """the sum of all that was observed"""


def n_steps(spec: EnvSpec) -> int:
    """The steps of a rehearsal: one episode of the longest, or as much of it as is played."""
    return min(spec.horizon + 1, REHEARSED)


def rehearse(env: VecEnv, key: PRNGKeyArray) -> Rehearsal:
    """Play with random available actions for ``n_steps``."""
    begin, play = jax.random.split(key)

    def step(carry, key: PRNGKeyArray):
        state, now, total, length = carry
        action = random_actions(key, now)
        state, after = env.step(state, action)
        total, n = total + after.reward, length + ~after.first
        found = breaches(env.spec, now, after, length, n)
        seen = jnp.sum(after.obs, axis=(1, 2)) + jnp.sum(after.state, axis=1)
        over = after.last | after.first
        carry = state, after, jnp.where(over, 0.0, total), jnp.where(over, 0, n)
        return carry, (found, total, n, after.last, after.won, seen)

    state, now = env.reset(begin)
    zero = jnp.zeros(env.n_envs), jnp.zeros(env.n_envs, jnp.int32)
    keys = jax.random.split(play, n_steps(env.spec))
    _, (found, *rest) = jax.lax.scan(step, (state, now, *zero), keys)
    counts = {name: jnp.sum(broken, dtype=jnp.int32) for name, broken in found.items()}
    return Rehearsal(counts, *rest)


def random_actions(key: PRNGKeyArray, now: TimeStep) -> Int[Array, "*E N"]:
    """An available action of every agent; all are equally likely."""
    scores = jax.random.uniform(key, now.avail_actions.shape)
    return jnp.argmax(jnp.where(now.avail_actions, scores, -1.0), axis=-1).astype(jnp.int32)
