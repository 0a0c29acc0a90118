"""Greedy play."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.envs.base import VecEnv
from knife_jax.training.exploration import greedy_actions
from knife_jax.training.learner import Learner
from knife_jax.training.rollout import ActorState, start
from knife_jax.types import Variables


class Episodes(NamedTuple):
    """The first episode of each environment."""

    returns: Float[Array, "E"]
    won: Bool[Array, "E"]
    lengths: Int[Array, "E"]
    ended: Bool[Array, "E"]
    """False where an episode was not over after ``spec.horizon`` transitions"""
    whole: Bool[Array, "E"]
    """False where it broke off"""


def evaluate(env: VecEnv, learner: Learner, variables: Variables, key: PRNGKeyArray) -> Episodes:
    """Play greedily until every environment has ended its first episode.

    First episodes only: counting all that end within a fixed time would favour short ones.
    """

    def playing(carry) -> Bool[Array, ""]:
        steps, _, alive, _ = carry
        return jnp.any(alive) & (steps < env.spec.horizon)

    def step(carry):
        steps, actor, alive, episodes = carry
        now = actor.time_step
        carry, values = learner.act(variables, actor.carry, now, actor.last_action)
        action = greedy_actions(values, now.avail_actions)
        env_state, after = env.step(actor.env, action)
        actor = actor.replace(env=env_state, time_step=after, carry=carry, last_action=action)
        episodes = episodes._replace(
            returns=episodes.returns + jnp.where(alive, after.reward, 0.0),
            won=episodes.won | (alive & after.won),
            lengths=episodes.lengths + alive,
            whole=episodes.whole & ~(alive & after.first),
        )
        return steps + 1, actor, alive & ~(after.last | after.first), episodes

    actor: ActorState = start(env, learner.initial_carry(env.n_envs), key)
    e = env.n_envs
    no = jnp.zeros(e, bool)
    nothing = Episodes(jnp.zeros(e), no, jnp.zeros(e, jnp.int32), no, ~no)
    carry = (jnp.zeros((), jnp.int32), actor, ~no, nothing)
    _, _, alive, episodes = jax.lax.while_loop(playing, step, carry)
    return episodes._replace(ended=~alive)
