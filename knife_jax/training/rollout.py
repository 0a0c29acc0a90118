"""Acting: T steps of E environments become E windows."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.envs.base import TimeStep, VecEnv
from knife_jax.envs.contract import breaches
from knife_jax.training.exploration import epsilon_greedy
from knife_jax.training.learner import Act
from knife_jax.types import PyTree, Trajectory, Variables


class ActorState(struct.PyTreeNode):
    """Where the E environments of one seed stand."""

    env: PyTree
    time_step: TimeStep
    carry: Float[Array, "E N H"]
    """the agents' recurrent state"""
    last_action: Int[Array, "E N"]
    episode_return: Float[Array, "E"]
    episode_length: Int[Array, "E"]


class EpisodeSums(NamedTuple):
    """Sums over the episodes that ended and are counted."""

    episodes: Float[Array, ""]
    returned: Float[Array, ""]
    length: Float[Array, ""]
    won: Float[Array, ""]
    breaches: dict[str, Int[Array, ""]]
    """how often the environment broke its contract in these steps"""


def start(
    env: VecEnv, carry: Float[Array, "E N H"], key: PRNGKeyArray, held: PyTree = None
) -> ActorState:
    """Begin an episode in every environment, with the agents' initial carry.

    Games outside of jax are those that the environments' state ``held`` has, if it is given.
    """
    if env.again is None or held is None:
        env_state, time_step = env.reset(key)
    else:
        env_state, time_step = env.again(key, held)
    e, n = env.n_envs, env.spec.n_agents
    return ActorState(
        env=env_state,
        time_step=time_step,
        carry=carry,
        last_action=jnp.full((e, n), -1, jnp.int32),
        episode_return=jnp.zeros(e),
        episode_length=jnp.zeros(e, jnp.int32),
    )


def rollout(
    env: VecEnv,
    act: Act,
    variables: Variables,
    actor: ActorState,
    epsilon: Float[Array, ""],
    key: PRNGKeyArray,
    length: int,
    *,
    first_only: bool = False,
) -> tuple[ActorState, Trajectory, EpisodeSums]:
    """Play ``length`` steps ε-greedily.

    With ``first_only`` only the first episode that ends in each environment is counted: in a fixed
    number of steps, counting all of them favours short episodes.
    """

    def step(carry: tuple[ActorState, Bool[Array, "E"]], key: PRNGKeyArray):
        actor, counted = carry
        now = actor.time_step
        recurrent, values = act(variables, actor.carry, now, actor.last_action)
        action = epsilon_greedy(key, values, now.avail_actions, epsilon)
        env_state, after = env.step(actor.env, action)
        row = (now.obs, now.state, now.avail_actions, now.first, action, after.reward,
               after.terminated, ~after.first)  # fmt: skip
        total = actor.episode_return + after.reward
        steps = actor.episode_length + ~after.first
        ending = after.last & counted
        ended = EpisodeSums(
            episodes=jnp.sum(ending, dtype=jnp.float32),
            returned=jnp.sum(jnp.where(ending, total, 0.0)),
            length=jnp.sum(jnp.where(ending, steps, 0), dtype=jnp.float32),
            won=jnp.sum(after.won & counted, dtype=jnp.float32),
            breaches=breaches(env.spec, now, after, actor.episode_length, steps),
        )
        actor = ActorState(
            env=env_state,
            time_step=after,
            carry=recurrent,
            last_action=action,
            episode_return=jnp.where(after.last | after.first, 0.0, total),
            episode_length=jnp.where(after.last | after.first, 0, steps),
        )
        return (actor, counted & ~(after.last | after.first) if first_only else counted), (
            row,
            ended,
        )

    first_carry, last_action = actor.carry, actor.last_action
    every = jnp.ones_like(actor.time_step.first)
    (actor, _), (rows, ended) = jax.lax.scan(step, (actor, every), jax.random.split(key, length))
    obs, state, avail_actions, first, action, reward, terminated, valid = rows
    after = actor.time_step

    def with_next(rows: Array, following: Array) -> Array:
        return jnp.concatenate([rows, following[None]])

    windows = Trajectory(
        obs=with_next(obs, after.obs),
        state=with_next(state, after.state),
        avail_actions=with_next(avail_actions, after.avail_actions),
        first=with_next(first, after.first),
        action=action,
        reward=reward,
        terminated=terminated,
        valid=valid,
        carry=first_carry,
        last_action=last_action,
    )
    return actor, windows, jax.tree.map(jnp.sum, ended)


def first_episodes(valid: Bool[Array, "T B"]) -> Bool[Array, "T B"]:
    """The transitions of each window's first episode only."""
    return jnp.cumprod(valid, axis=0, dtype=jnp.int32).astype(bool)


REHEARSED = 1000
"""steps at most of a rehearsal"""


def rehearse(env: VecEnv, key: PRNGKeyArray) -> dict[str, Int[Array, ""]]:
    """How often an environment breaks its contract under random actions, by name: one episode of
    the longest in each of its E environments, or as much of it as ``REHEARSED`` steps take."""

    def act(variables, carry, now: TimeStep, last_action):
        return carry, jnp.zeros(now.avail_actions.shape)

    no_carry = jnp.zeros((env.n_envs, env.spec.n_agents, 1))
    actor, length = start(env, no_carry, key), min(env.spec.horizon + 1, REHEARSED)
    return rollout(env, act, {}, actor, jnp.ones(()), key, length)[2].breaches
