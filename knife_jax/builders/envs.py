"""Config becomes environments, tasks in them, and the sequence of these."""

from __future__ import annotations

import optax

from knife_jax.clock import every_env_steps
from knife_jax.config.env import EnvConfig, SequenceConfig
from knife_jax.config.environments import ENVS
from knife_jax.config.registry import resolve
from knife_jax.envs.tasks import Tasks, shuffled
from knife_jax.training.task_switch import TaskSequence
from knife_jax.types import Patient


def make_tasks(config: EnvConfig) -> Tasks:
    """The task of a config, or the tasks of its sequence in the order of training."""
    tasks = resolve(ENVS[config.name].make)(**config.arguments())
    sequence = config.sequence()
    if sequence is not None and sequence.order == "shuffled":
        return shuffled(tasks, sequence.task_seed)
    return tasks


def make_sequence(
    config: SequenceConfig,
    tasks: Tasks,
    n_envs: int,
    round_steps: int,
    optimiser: optax.GradientTransformation,
) -> TaskSequence:
    """When the tasks are trained, and what a switch does by itself."""

    def on_task_switch(patient: Patient) -> Patient:
        return patient._replace(opt_state=optimiser.init(patient.online["params"]))

    return TaskSequence(
        env=lambda task: tasks.env(task, n_envs),
        task=every_env_steps(config.steps_per_task, round_steps),
        clear_replay=config.clear_replay,
        on_task_switch=on_task_switch if config.restart_optimiser else lambda patient: patient,
    )
