"""Config becomes environments, tasks in them, and the sequence of these."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from knife_jax.clock import every_env_steps
from knife_jax.config.env import EnvConfig, SequenceConfig
from knife_jax.config.environments import ENVS
from knife_jax.config.registry import resolve
from knife_jax.config.run import Config
from knife_jax.envs.tasks import Tasks, TaskSeed, of_each_seed, shuffled
from knife_jax.plasticity.moments import restart
from knife_jax.training.task_switch import TaskSequence
from knife_jax.types import Patient, PyTree


def make_tasks(config: EnvConfig, seeds: Sequence[int]) -> Tasks:
    """The task of a config, or the tasks of its sequence in the order of training.

    ``seeds`` are those of the run: each has tasks of its own with ``drawing=per_seed``, which
    depend on ``task_seed`` and on the seed alone, and not on the other seeds.
    """
    sequence = config.sequence()
    if sequence is None:
        return resolve(ENVS[config.name].make)(**config.arguments())
    if sequence.drawing == "shared":
        return _drawn(sequence, sequence.task_seed)
    return of_each_seed([_drawn(sequence, (sequence.task_seed, seed)) for seed in seeds])


def _drawn(config: SequenceConfig, seed: TaskSeed) -> Tasks:
    arguments = {**config.arguments(), "task_seed": seed}
    tasks = resolve(ENVS[config.name].make)(**arguments)
    return shuffled(tasks, seed) if config.order == "shuffled" else tasks


def of_seeds(leaves: PyTree, config: Config, seeds: Sequence[int]) -> PyTree:
    """Those rows of leaves [S, ...] that belong to some of a run's seeds; of None, None.

    Raises ``ValueError`` for a seed that is none of the run's.
    """
    if leaves is None:
        return None
    places = [config.seeds.index(seed) for seed in seeds]
    return jax.tree.map(lambda leaf: leaf[places], leaves)


def make_sequence(
    config: SequenceConfig,
    tasks: Tasks,
    n_envs: int,
    round_steps: int,
) -> TaskSequence:
    """When the tasks are trained, and what a switch does by itself."""

    def on_task_switch(patient: Patient) -> Patient:
        return patient._replace(opt_state=restart(patient.opt_state))

    return TaskSequence(
        env=lambda task, own: tasks.env(task, n_envs, own),
        task=every_env_steps(config.steps_per_task, round_steps),
        clear_replay=config.clear_replay,
        on_task_switch=on_task_switch if config.restart_optimiser else lambda patient: patient,
    )
