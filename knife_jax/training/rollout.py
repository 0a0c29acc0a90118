"""Acting: T steps of E environments become E windows."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.envs.base import TimeStep, VecEnv
from knife_jax.envs.contract import BREACHES, breaches
from knife_jax.training.exploration import epsilon_greedy
from knife_jax.training.learner import Act
from knife_jax.types import Flat, PyTree, Trajectory, Variables, batch_axes

ACTING = 1_000
"""number of the key of what is drawn for values, beside those of ε-greedy actions"""


class ActorState(struct.PyTreeNode):
    """Where the E environments of one seed stand."""

    env: PyTree
    time_step: TimeStep
    carry: Float[Array, "E N H"]
    """the agents' recurrent state"""
    last_action: Int[Array, "E N"]
    episode_return: Float[Array, "E"]
    episode_length: Int[Array, "E"]
    recent: Trajectory | None = None
    """the last steps of the round before, if they are to be learnt from again"""


class EpisodeSums(NamedTuple):
    """Sums over the episodes that ended and are counted."""

    episodes: Float[Array, ""]
    returned: Float[Array, ""]
    length: Float[Array, ""]
    won: Float[Array, ""]
    breaches: dict[str, Float[Array, ""]]
    """how often the environment broke its contract in these steps"""


def start(
    env: VecEnv,
    carry: Float[Array, "E N H"],
    key: PRNGKeyArray,
    held: PyTree = None,
    *,
    memory: int = 0,
) -> ActorState:
    """Begin an episode in every environment, with the agents' initial carry.

    Games outside of jax are those that the environments' state ``held`` has, if it is given. With
    ``memory`` windows will have so many steps of the round before at their head; at first these
    hold no transitions.
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
        recent=_nothing_yet(time_step, carry, memory) if memory else None,
    )


def _nothing_yet(now: TimeStep, carry: Float[Array, "E N H"], steps: int) -> Trajectory:
    """So many steps without transitions before the first one of an episode."""
    over = lambda leaf, n: jnp.broadcast_to(leaf, (n, *leaf.shape))  # noqa: E731
    nobody = jnp.zeros(now.avail_actions.shape[:-1], jnp.int32)
    no = jnp.zeros(now.first.shape, bool)
    return Trajectory(
        obs=over(now.obs, steps + 1),
        state=over(now.state, steps + 1),
        avail_actions=over(now.avail_actions, steps + 1),
        first=over(~no, steps + 1),
        action=over(nobody, steps),
        reward=over(jnp.zeros(no.shape), steps),
        terminated=over(no, steps),
        valid=over(no, steps),
        carry=carry,
        last_action=nobody - 1,
    )


def _joined(before: Trajectory, after: Trajectory) -> Trajectory:
    """Windows and those that follow them, as one."""
    steps = before.reward.shape[0]

    def both(old: Array, new: Array, axis: int) -> Array:
        return jnp.concatenate([old[:steps], new]) if axis else old

    return jax.tree.map(both, before, after, batch_axes(after))


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

    def step(carry: tuple[ActorState, Bool[Array, "E"], Flat], key: PRNGKeyArray):
        actor, counted, sums = carry
        now = actor.time_step
        before = None if actor.recent is None else (actor.carry, actor.last_action)
        own_key = jax.random.fold_in(key, ACTING)
        recurrent, values = act(variables, actor.carry, now, actor.last_action, own_key)
        action = epsilon_greedy(key, values, now.avail_actions, epsilon)
        env_state, after = env.step(actor.env, action)
        row = (now.obs, now.state, now.avail_actions, now.first, action, after.reward,
               after.terminated, ~after.first)  # fmt: skip
        total = actor.episode_return + after.reward
        steps = actor.episode_length + ~after.first
        ending = after.last & counted
        of_each = EpisodeSums(
            episodes=ending,
            returned=jnp.where(ending, total, 0.0),
            length=jnp.where(ending, steps, 0),
            won=after.won & counted,
            breaches=breaches(env.spec, now, after, actor.episode_length, steps),
        )
        columns = [leaf.astype(jnp.float32) for leaf in jax.tree.leaves(of_each)]
        sums = sums.replace(numbers=sums.numbers + jnp.sum(jnp.stack(columns), axis=1))
        actor = ActorState(
            env=env_state,
            time_step=after,
            carry=recurrent,
            last_action=action,
            episode_return=jnp.where(after.last | after.first, 0.0, total),
            episode_length=jnp.where(after.last | after.first, 0, steps),
            recent=actor.recent,
        )
        counted = counted & ~(after.last | after.first) if first_only else counted
        return (actor, counted, sums), (row, before)

    recent, first_carry, last_action = actor.recent, actor.carry, actor.last_action
    every = jnp.ones_like(actor.time_step.first)
    zero = jnp.zeros(())
    nothing = Flat.of(EpisodeSums(zero, zero, zero, zero, dict.fromkeys(BREACHES, zero)))
    (actor, _, sums), (rows, before) = jax.lax.scan(
        step, (actor, every, nothing), jax.random.split(key, length)
    )
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
    if recent is not None and before is not None:
        kept = length - recent.reward.shape[0]
        last = jax.tree.map(
            lambda leaf, axis: leaf[kept:] if axis else leaf, windows, batch_axes(windows)
        )
        carry, action = (leaf[kept] for leaf in before)
        actor = actor.replace(recent=last.replace(carry=carry, last_action=action))
        windows = _joined(recent, windows)
    return actor, windows, sums.tree


def first_episodes(valid: Bool[Array, "T B"]) -> Bool[Array, "T B"]:
    """The transitions of each window's first episode only."""
    return jnp.cumprod(valid, axis=0, dtype=jnp.int32).astype(bool)
