"""Teams and starting places of an episode: upstream's distributions, as a function of its order.

Upstream draws them from generators that no seed reaches (smacv2 issue 34).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .rows import Order
from .scenarios import ALONE, UNITS, Scenario, Task

MAP = 32
"""width and height"""


def generator(order: Order) -> np.random.Generator:
    """The random numbers of an episode: equal for equal orders."""
    return np.random.default_rng([order.task, order.key, order.game, order.episode])


def draw(random: np.random.Generator, task: Task, battle: Scenario) -> dict[str, Any]:
    """An episode in the form that ``StarCraft2Env.reset`` takes."""
    _, n, m = battle
    allies = team(random, task.race, task.weights, n)
    if task.enemy_weights is not None:
        enemies = team(random, task.race, task.enemy_weights, m)
    elif m > n:
        enemies = allies + team(random, task.race, task.weights, m - n)
    else:
        enemies = allies[:m]
    reflected = random.random() <= task.reflect
    ally_places, enemy_places = (reflect if reflected else surround)(random, n, m)
    return {
        "team_gen": {"ally_team": allies, "enemy_team": enemies, "id": 0},
        "ally_start_positions": {"item": ally_places, "id": 0},
        "enemy_start_positions": {"item": enemy_places, "id": 0},
    }


def team(random: np.random.Generator, race: str, weights: Any, size: int) -> list[str]:
    """Units drawn one by one; drawn again while they are all of the kind that cannot be alone."""
    while True:
        drawn = [UNITS[race][i] for i in random.choice(len(weights), size=size, p=weights)]
        if any(unit != ALONE[race] for unit in drawn):
            return drawn


def reflect(random: np.random.Generator, n: int, m: int) -> Any:
    """Allies anywhere on the left, enemies mirrored to the right, the rest of them anywhere."""
    allies = random.uniform((0, 0), (MAP / 2 - 1, MAP), size=(n, 2))
    mirrored = allies[:m] * (-1, 1) + (MAP, 0)
    rest = random.uniform((MAP / 2, 0), (MAP, MAP), size=(max(m - n, 0), 2))
    return allies, np.concatenate([mirrored, rest])


def surround(random: np.random.Generator, n: int, m: int) -> Any:
    """Allies in the middle, enemies in one to four groups on the diagonals."""
    middle = np.full(2, MAP / 2)
    corners = np.array([(0, 0), (0, MAP), (MAP, MAP), (MAP, 0)], float)
    inner = middle + 2.0 * np.sign(corners - middle)
    n_groups = int(random.integers(1, 5))
    members = random.multinomial(m, np.full(n_groups, 1 / n_groups))
    along = random.uniform(size=(n_groups, 1))
    diagonals = random.choice(4, size=n_groups, replace=False)
    places = inner[diagonals] * along + corners[diagonals] * (1 - along)
    return np.tile(middle, (n, 1)), np.repeat(places, members, axis=0)
