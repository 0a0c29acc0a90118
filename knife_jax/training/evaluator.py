"""Greedy play."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.envs.base import VecEnv
from knife_jax.training.exploration import greedy_actions
from knife_jax.training.learner import Learner
from knife_jax.training.rollout import ActorState, start
from knife_jax.types import PyTree, Variables


class Episodes(NamedTuple):
    """The first episode of each environment."""

    returns: Float[Array, "E"]
    won: Bool[Array, "E"]
    lengths: Int[Array, "E"]
    ended: Bool[Array, "E"]
    """False where an episode was not over after ``spec.horizon`` transitions"""
    whole: Bool[Array, "E"]
    """False where it broke off"""


class Moment(NamedTuple):
    """A step of greedy play."""

    steps: Int[Array, ""]
    """steps before it"""
    alive: Bool[Array, "E"]
    """whose first episode is not over yet"""
    before: ActorState
    after: ActorState
    """``last_action`` is the action taken"""


@runtime_checkable
class Note(Protocol):
    def __call__(self, notes: PyTree, moment: Moment, /) -> PyTree:
        """Return the notes with what is kept of a step."""
        ...


def evaluate(env: VecEnv, learner: Learner, variables: Variables, key: PRNGKeyArray) -> Episodes:
    """Play greedily until every environment has ended its first episode.

    First episodes only: counting all that end within a fixed time would favour short ones.
    """
    actor = start(env, learner.initial_carry(env.n_envs), key)
    return play(env, learner, variables, actor)[0]


def play(
    env: VecEnv,
    learner: Learner,
    variables: Variables,
    actor: ActorState,
    note: Note = lambda notes, _: notes,
    notes: PyTree = (),
) -> tuple[Episodes, PyTree]:
    """The first episodes of ``evaluate`` from where they begin, and the notes taken of them."""

    def playing(carry) -> Bool[Array, ""]:
        steps, _, alive, *_ = carry
        return jnp.any(alive) & (steps < env.spec.horizon)

    def step(carry):
        steps, actor, alive, episodes, notes = carry
        now = actor.time_step
        recurrent, values = learner.act(variables, actor.carry, now, actor.last_action)
        action = greedy_actions(values, now.avail_actions)
        env_state, after = env.step(actor.env, action)
        then = actor.replace(env=env_state, time_step=after, carry=recurrent, last_action=action)
        notes = note(notes, Moment(steps, alive, actor, then))
        episodes = episodes._replace(
            returns=episodes.returns + jnp.where(alive, after.reward, 0.0),
            won=episodes.won | (alive & after.won),
            lengths=episodes.lengths + alive,
            whole=episodes.whole & ~(alive & after.first),
        )
        return steps + 1, then, alive & ~(after.last | after.first), episodes, notes

    e = env.n_envs
    no = jnp.zeros(e, bool)
    nothing = Episodes(jnp.zeros(e), no, jnp.zeros(e, jnp.int32), no, ~no)
    carry = (jnp.zeros((), jnp.int32), actor, ~no, nothing, notes)
    _, _, alive, episodes, notes = jax.lax.while_loop(playing, step, carry)
    return episodes._replace(ended=~alive), notes
