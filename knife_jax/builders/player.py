"""What plays of a config, without what trains: its environment, its networks, greedy evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from knife_jax.builders.envs import make_tasks, of_seeds
from knife_jax.builders.evaluation import Evaluation, make_evaluation
from knife_jax.builders.trainer import make_trainer
from knife_jax.config.run import Config
from knife_jax.envs.base import EnvSpec
from knife_jax.envs.tasks import Games, Tasks
from knife_jax.parallel.devices import make_mesh
from knife_jax.training.evaluator import Episodes
from knife_jax.training.forward import init_networks
from knife_jax.training.learner import Learner
from knife_jax.types import Variables


class Greedy(NamedTuple):
    """Greedy evaluation of the networks of S seeds, with the fields that ``Program`` has for it."""

    config: Config
    spec: EnvSpec
    n_tasks: int
    optimum: Float[np.ndarray, "S K"] | None
    task_steps: int | None
    games: Games | None
    evaluate: Callable[[Variables, Key[Array, "S"], int], Episodes]


@dataclass(frozen=True, eq=False)
class Player:
    """What plays of a config; one is as good as another only if it is the same object."""

    config: Config
    spec: EnvSpec
    tasks: Tasks
    learner: Learner
    shapes: Any
    """of the variables of one seed"""
    greedy: Callable[[tuple[int, ...], int], Greedy]
    """(which of the run's seeds, episodes of each task)"""


def make_player(config: Config) -> Player:
    """Make what plays of a config, on whatever devices and with whatever memory this machine has.

    Raises ``ConfigError`` if its environment cannot be made.
    """
    config = replace(config, devices=None)
    tasks = make_tasks(config.env, config.seeds)
    trainer = make_trainer(config, tasks.env(0, config.env.n_envs), tasks)
    spec, learner, sequence = trainer.env.spec, trainer.learner, config.env.sequence()

    @cache
    def evaluation(n_seeds: int, episodes: int) -> tuple[Config, Evaluation]:
        asked = replace(config, evaluation=replace(config.evaluation, episodes=episodes))
        return asked, make_evaluation(tasks, asked, learner, make_mesh(n_seeds, (1,), None))

    def greedy(seeds: tuple[int, ...], episodes: int) -> Greedy:
        asked, evaluated = evaluation(len(seeds), episodes)
        own = of_seeds(tasks.own, config, seeds)
        return Greedy(
            asked,
            spec,
            tasks.n,
            of_seeds(tasks.optima(config.num_seeds), config, seeds),
            sequence and sequence.steps_per_task,
            tasks.games,
            lambda variables, keys, task: evaluated(variables, keys, jnp.int32(task), own),
        )

    def begin(key: Any) -> Variables:
        return init_networks(learner.networks, spec, key)

    shapes = jax.eval_shape(begin, jax.random.key(0))
    return Player(config, spec, tasks, learner, shapes, greedy)
