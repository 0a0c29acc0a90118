"""Battles as tasks: the one module of this folder that imports jax."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Array, Int

from knife_jax.envs.base import EnvSpec, VecEnv
from knife_jax.envs.outside import outside
from knife_jax.envs.smacv2.games import Calls, Games
from knife_jax.envs.smacv2.worker import scenarios
from knife_jax.envs.smacv2.worker.scenarios import Task
from knife_jax.envs.tasks import Tasks


def make(scenario: str, reward_scale: str, obs: str) -> Tasks:
    """One published battle of SMACv2."""
    task = Task(scenarios.scenario(scenario).race)
    return _battles("smacv2", scenario, [task], reward_scale, obs)


def make_sequence(
    scenario: str, reward_scale: str, obs: str, vary: str, n_tasks: int, task_seed: int
) -> Tasks:
    """Battles that differ in what is drawn; the first is the published one."""
    race = scenarios.scenario(scenario).race
    random = np.random.default_rng(task_seed)
    tasks = [Task(race)]
    for number in range(1, n_tasks):
        weights = random.dirichlet(np.ones(3)).round(3)
        weights = (*weights[:2].tolist(), round(1.0 - float(weights[:2].sum()), 3))
        tasks.append(
            {
                "weights": Task(race, weights=weights),
                "starts": Task(race, reflect=round(float(random.uniform()), 3)),
                "enemies": Task(race, enemy_weights=weights),
                "races": Task(_after(race, number)),
            }[vary]
        )
    return _battles("seq_smacv2", scenario, tasks, reward_scale, obs, padded=vary == "races")


def _after(race: str, number: int) -> str:
    """The race that is ``number`` places later, in turn."""
    races = [*scenarios.UNITS]
    return races[(races.index(race) + number) % len(races)]


def _battles(
    name: str, scenario: str, tasks: list[Task], reward_scale: str, obs: str, padded: bool = False
) -> Tasks:
    sizes = scenarios.sizes(scenario, padded)
    told = scenarios.settings(scenario, tasks, reward_scale, obs, padded)
    games = Games(sizes, "worker.client:Smacv2", told)
    return tasks_of(games, EnvSpec(name, *sizes, has_win=True), len(tasks))


def tasks_of(games: Any, spec: EnvSpec, n_tasks: int = 1) -> Tasks:
    """The tasks of games, by the number that a game is told when it begins an episode."""
    training, evaluation = Calls(games, "training"), Calls(games, "evaluation")

    def played(task: Int[Array, ""], n_games: int, first: Int[Array, ""]) -> VecEnv:
        return outside(spec, n_games, evaluation, task % n_tasks, first)

    return Tasks(
        n_tasks,
        np.arange(n_tasks, dtype=np.int32),
        lambda task, n_games: outside(spec, n_games, training, task),
        games=games,
        evaluation=played,
    )
