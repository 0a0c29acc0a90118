"""SMACv2's published battles: units, sizes and settings (Ellis et al. 2023), and tasks of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from .rows import Sizes

UNITS = {
    "terran": ("marine", "marauder", "medivac"),
    "protoss": ("stalker", "zealot", "colossus"),
    "zerg": ("zergling", "hydralisk", "baneling"),
}
"""race -> its units, the rare one last"""
WEIGHTS = (0.45, 0.45, 0.1)
ALONE = {"terran": "medivac", "protoss": None, "zerg": "baneling"}
"""race -> the unit of which no team consists alone"""
HEALTH = {
    "marine": 45, "marauder": 125, "medivac": 150, "stalker": 160, "zealot": 150, "colossus": 350,
    "zergling": 35, "hydralisk": 90, "baneling": 30,
}  # fmt: skip
"""health and shield at the start, in version 4.10 of the game"""
HORIZON = 200
STEP_MUL = 8
"""loops of the game in a step"""
GAME_VERSION = "4.10"
"""the one of SMAC's published results; others give other results"""
LOOP_LIMIT = 500_000
"""loops after which a game is started anew: it ends by itself after 2**19"""

SETTINGS = {
    "difficulty": "7", "step_mul": STEP_MUL, "move_amount": 2, "conic_fov": False,
    "num_fov_actions": 12, "obs_own_pos": True, "use_unit_ranges": True, "min_attack_range": 2,
    "obs_all_health": True, "obs_own_health": True, "obs_last_action": False,
    "obs_instead_of_state": False, "obs_pathing_grid": False, "obs_terrain_height": False,
    "obs_timestep_number": False, "state_last_action": True, "state_timestep_number": False,
    "reward_only_positive": True, "reward_sparse": False, "reward_death_value": 10,
    "reward_win": 200, "reward_defeat": 0, "reward_negative_scale": 0.5, "reward_scale": True,
    "reward_scale_rate": 20, "continuing_episode": False, "heuristic_ai": False, "debug": False,
    "prob_obs_enemy": 1.0, "action_mask": True, "game_version": GAME_VERSION,
}  # fmt: skip
"""of all three published files, as arguments of ``StarCraft2Env``"""


class Scenario(NamedTuple):
    """A battle by name: ``zerg_10_vs_11``."""

    race: str
    n_units: int
    n_enemies: int


class Task(NamedTuple):
    """What is drawn at the start of an episode."""

    race: str
    weights: Any = WEIGHTS
    """probability of each of ``UNITS``"""
    reflect: float = 0.5
    """probability that the enemies stand mirrored; else they surround the allies"""
    enemy_weights: Any | None = None
    """if the enemies are drawn by themselves; None copies the allies and draws the rest"""


def scenario(name: str) -> Scenario:
    """The battle that a name stands for."""
    race, n_units, _, n_enemies = name.split("_")
    return Scenario(race, int(n_units), int(n_enemies))


def sizes(name: str, padded: bool = False) -> Sizes:
    """The sizes of a battle; ``padded`` as if all races had shields."""
    race, n, m = scenario(name)
    shield = int(padded or race == "protoss")
    row, n_actions = 8 + shield, 6 + m
    obs = 4 + m * row + (n - 1) * row + 6 + shield
    state = n * (7 + shield) + m * (6 + shield) + n * n_actions
    return Sizes(n, n_actions, obs, state, HORIZON)


def settings(
    name: str, tasks: list[Task], reward_scale: str, obs: str, padded: bool = False
) -> dict[str, Any]:
    """What a worker is told of its battles, as JSON holds it."""
    return {
        "scenario": name, "tasks": [list(task) for task in tasks], "reward_scale": reward_scale,
        "obs": obs, "padded": padded, "loop_limit": LOOP_LIMIT,
    }  # fmt: skip


def expected_reward(task: Task, n_units: int, n_enemies: int) -> float:
    """Upstream's ``max_reward`` with the expected enemies in place of the first episode's."""
    if task.enemy_weights is not None:
        health = _expected_health(task.race, task.enemy_weights, n_enemies)
    else:
        # the allies' team may be cut: the draws of a team are exchangeable
        health = _expected_health(task.race, task.weights, n_units) * min(1, n_enemies / n_units)
        if n_enemies > n_units:
            health += _expected_health(task.race, task.weights, n_enemies - n_units)
    return health + SETTINGS["reward_death_value"] * n_enemies + SETTINGS["reward_win"]


def _expected_health(race: str, weights: Any, size: int) -> float:
    """Of a team that is drawn again while it consists of ``ALONE`` alone."""
    total, units = 0.0, UNITS[race]
    alone = weights[units.index(ALONE[race])] if ALONE[race] else 0.0
    for unit, weight in zip(units, weights):
        drawn = size * weight - (size * alone**size if unit == ALONE[race] else 0.0)
        total += HEALTH[unit] * drawn / (1.0 - alone**size)
    return total
