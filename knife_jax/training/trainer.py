"""What a round of training consists of: functions and fixed sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from knife_jax.clock import Clock, Trigger
from knife_jax.envs.base import VecEnv
from knife_jax.parallel.shards import WHOLE, Shards
from knife_jax.plasticity.base import PlasticityTransform
from knife_jax.training.learner import Learner
from knife_jax.training.rollout import ActorState, start
from knife_jax.training.task_switch import TaskSequence
from knife_jax.types import PyTree


class Trainer(NamedTuple):
    """The rounds of training and their fixed sizes.

    Environments, batch and capacity are those of one shard if a seed is split over devices.
    """

    env: VecEnv
    learner: Learner
    plasticity: PlasticityTransform
    epsilon: Callable[[Clock], Float[Array, ""]]
    learning_rate: Callable[[Clock], Float[Array, ""]]
    """of the gradient step that comes next"""
    log: Trigger
    """when a chunk ends for a log line"""
    most_rounds: int
    """of one chunk"""
    slots: int
    stagnant_threshold: float
    episodes_only: bool
    length: int
    """environment steps of each environment in a round"""
    updates: int
    """gradient steps in a round"""
    waits: int
    """rounds that the replay holds before the first gradient step"""
    batch: int
    capacity: int
    in_epochs: bool = False
    """whether batches are epochs of a round's windows, in place of draws from the replay; the
    replay then holds one round"""
    memory: int = 0
    """steps of the round before that come with each window"""
    sequence: TaskSequence | None = None
    """None if one task is trained throughout; else ``env`` is that of the first"""
    shards: Shards = WHOLE

    @property
    def round_steps(self) -> int:
        """Environment steps in a round, over all environments of all shards."""
        return self.length * self.env.n_envs * self.shards.n


def begin_episodes(
    trainer: Trainer, env: VecEnv, key: PRNGKeyArray, held: PyTree = None
) -> ActorState:
    """Begin episodes to learn from in environments of the trainer's number; see ``start``."""
    carry = trainer.learner.initial_carry(env.n_envs)
    return start(env, carry, key, held, memory=trainer.memory)


def open_slots(trainer: Trainer, clock: Clock) -> Int[Array, ""]:
    """No neuron can use more slots than surgeries were due so far."""
    return jnp.minimum(trainer.plasticity.trigger(clock), trainer.slots)


def trajectories_added(trainer: Trainer, clock: Clock) -> Int[Array, ""]:
    """How many windows the replay (of a shard) was given since it was last empty, without those
    that filled it a second time, a third time and so on: no count here grows with the run."""
    rounds, full = clock.rounds - clock.replay_since, trainer.capacity // trainer.env.n_envs
    return jnp.where(rounds < full, rounds, full + rounds % full) * trainer.env.n_envs
