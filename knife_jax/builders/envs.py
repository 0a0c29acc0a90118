"""Config becomes environments, tasks in them, and the sequence of these."""

from __future__ import annotations

from functools import partial

import optax

from knife_jax.clock import every_env_steps
from knife_jax.config import env as configs
from knife_jax.envs import matrix_games, sequences
from knife_jax.envs.base import VecEnv, vectorise
from knife_jax.envs.grid_predator_prey import grid_predator_prey
from knife_jax.envs.predator_prey import predator_prey
from knife_jax.envs.smax import batched_smax
from knife_jax.envs.smax.jaxmarl import bounded_state, smax
from knife_jax.envs.tasks import Tasks, shuffled, single
from knife_jax.training.task_switch import TaskSequence
from knife_jax.types import Patient


def make_tasks(config: configs.EnvConfig) -> Tasks:
    """The task of a config, or the tasks of its sequence in the order of training."""
    if isinstance(config, configs.SequenceConfig):
        tasks = _sequence(config)
        return shuffled(tasks, config.task_seed) if config.order == "shuffled" else tasks
    if isinstance(config, configs.MatrixGameConfig):
        return _matrix_game(config.scenario)
    return single(partial(make_env, config))


def make_env(config: configs.EnvConfig, n_envs: int) -> VecEnv:
    """The environment of a config without a sequence, ``n_envs`` times."""
    if isinstance(config, configs.SmaxConfig):
        if config.impl == "batched":
            return bounded_state(batched_smax(config.scenario, n_envs))
        return bounded_state(vectorise(smax(config.scenario), n_envs))
    if isinstance(config, configs.PredatorPreyConfig):
        return vectorise(predator_prey(config.n_predators), n_envs)
    if isinstance(config, configs.GridPredatorPreyConfig):
        return grid_predator_prey(config.game(), n_envs)
    raise TypeError(f"no environment for {config!r}")


def _matrix_game(scenario: str) -> Tasks:
    if scenario in matrix_games.SQUEEZES:
        modes = matrix_games.SQUEEZES[scenario]
        amounts = matrix_games.draw_amounts(seed=0)
        env = matrix_games.gaussian_squeeze(amounts, modes)
        return single(partial(vectorise, env), matrix_games.best_squeeze(amounts, modes))
    game = matrix_games.TABLES[scenario]
    env = matrix_games.matrix_game(*game)
    return single(partial(vectorise, env), matrix_games.best_return(*game))


def _sequence(config: configs.SequenceConfig) -> Tasks:
    n, seed = config.n_tasks, config.task_seed
    if isinstance(config, configs.MatrixSequenceConfig):
        if config.payoffs == "permuted":
            return sequences.permuted_matrices(config.scenario, n, seed)
        return sequences.representable_matrices(config.n_actions, n, seed)
    if isinstance(config, configs.GridSequenceConfig):
        return sequences.grid_games(config.scenario, config.vary, n, seed)
    if isinstance(config, configs.PursuitSequenceConfig):
        return sequences.pursuits(config.n_predators, config.vary, n, seed)
    if isinstance(config, configs.SmaxSequenceConfig):
        return sequences.battles(config.scenario, config.vary, n, seed)
    raise TypeError(f"no sequence for {config!r}")


def make_sequence(
    config: configs.SequenceConfig,
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
