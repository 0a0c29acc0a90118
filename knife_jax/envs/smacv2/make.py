"""Games outside of jax as tasks: the one module of this folder that imports jax."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Int

from knife_jax.envs.base import EnvSpec, VecEnv
from knife_jax.envs.outside import outside
from knife_jax.envs.smacv2.games import Calls, Games
from knife_jax.envs.tasks import Tasks


def tasks_of(games: Games, spec: EnvSpec, n_tasks: int = 1) -> Tasks:
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
