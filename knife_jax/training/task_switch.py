"""Tasks one after the other: when, is a function of the Clock; a switch is a branch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from knife_jax.clock import Clock, Trigger
from knife_jax.envs.base import VecEnv
from knife_jax.parallel.shards import Shards
from knife_jax.training.rollout import ActorState
from knife_jax.training.state import TrainState
from knife_jax.types import Patient, PyTree


class TaskSequence(NamedTuple):
    """Which environment is trained when, and what a new task does to the learner by itself."""

    env: Callable[[Int[Array, ""] | int, PyTree], VecEnv]
    """of a task, in the order of training, with the seed's own tasks if it has any (``Tasks``);
    all have the same sizes"""
    task: Trigger
    """the one that is trained when the Clock shows so much; a chunk ends as it changes"""
    clear_replay: bool
    on_task_switch: Callable[[Patient], Patient]


def switch(
    sequence: TaskSequence,
    begin: Callable[[VecEnv, PRNGKeyArray], ActorState],
    state: TrainState,
    clock: Clock,
    shards: Shards,
) -> tuple[TrainState, Clock]:
    """Enter the task that is due at the head of a chunk, if it is a new one.

    ``begin`` begins episodes in its environments. Those under way are left behind. Their windows
    end where they stand, so that no transition leads from one task into the next. Games outside of
    jax are told of the task by their next step.
    """
    task = sequence.task(clock)
    is_new = task > clock.task

    def enter():
        key, start_key = jax.random.split(state.key)
        env = sequence.env(task, state.tasks)
        actor = state.actor if env.again else begin(env, shards.own(start_key))
        return sequence.on_task_switch(state.patient), actor, key

    patient, actor, key = jax.lax.cond(
        is_new, enter, lambda: (state.patient, state.actor, state.key)
    )
    emptied = jnp.where(is_new & sequence.clear_replay, clock.rounds, clock.replay_since)
    began = jnp.where(is_new, clock.rounds, clock.task_rounds)
    clock = clock._replace(task=task, replay_since=emptied, task_rounds=began)
    return state.replace(patient=patient, actor=actor, key=key), clock


def clock_at_last_update(sequence: TaskSequence, clock: Clock, waits: int) -> Clock:
    """The Clock as the triggers saw it last: they are read at gradient steps.

    Until the first gradient step of a task the triggers have seen only the task before. It waits
    for so many rounds in the replay; a replay that was lost later in the task, where a run was
    resumed, does not undo it.
    """
    began = clock.task_rounds
    filled = clock.rounds - clock.replay_since >= waits
    needed = waits if sequence.clear_replay else 1
    learning = (clock.rounds > began) & (filled | (clock.replay_since - began >= needed))
    return clock._replace(task=jnp.where(learning, clock.task, jnp.maximum(clock.task - 1, 0)))


def per_task(schedule: Callable[[Clock], Array]) -> Callable[[Clock], Array]:
    """A schedule that begins anew with every task."""
    return lambda clock: schedule(clock._replace(rounds=clock.rounds - clock.task_rounds))
