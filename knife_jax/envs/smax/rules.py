"""The numbers of one SMAX scenario, read from JaxMARL's own tables when it is built."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from knife_jax.config.scenarios import SMAX_RACES
from knife_jax.envs.lean_import import jaxmarl_module

FEATURES = ("health", "velocity", "damage", "reach", "sight", "radius", "reload")
"""what differs between unit types; ``reach`` is the attack range, ``reload`` the mean cooldown"""


@dataclass(frozen=True, eq=False)
class Rules:
    """Everything about a scenario that does not change while it is played.

    Lengths are in map units, times in seconds. Units are numbered allies first, then enemies.
    """

    scenario: str
    n_allies: int
    n_enemies: int
    n_types: int
    unit_types: np.ndarray
    """int32 [U]: the types of a fixed scenario; not used if types are drawn"""
    random_types: bool
    random_positions: bool
    by_type: dict[str, np.ndarray]
    """float32 [n_types] for every name in FEATURES"""
    width: float
    height: float
    dt: float
    """length of one world step"""
    substeps: int
    """world steps in one environment step"""
    time_limit: int
    """an episode is stopped by the transition that starts from this step count"""
    win_bonus: float
    n_moves: int = 4
    type_weights: tuple[float, ...] | None = None
    """probability of each type if types are drawn. None is JaxMARL's way: all alike, and enemies
    beyond the number of allies are of type 0"""

    @property
    def n_extra(self) -> int:
        """Enemies beyond the number of allies."""
        return max(self.n_enemies - self.n_allies, 0)

    @property
    def n_units(self) -> int:
        return self.n_allies + self.n_enemies

    @property
    def n_actions(self) -> int:
        """North, east, south, west, stop, then one attack per enemy."""
        return self.n_moves + 1 + self.n_enemies

    @property
    def shots(self) -> int:
        """How many times one unit can fire within one environment step."""
        shortest = float(self.by_type["reload"].min()) - self.dt
        return 1 if shortest > (self.substeps - 2) * self.dt else self.substeps


def load_rules(scenario: str) -> Rules:
    """Read `scenario` from JaxMARL's registry; raises ValueError if there is none of that name.

    The rules are those of ``jaxmarl.make("HeuristicEnemySMAX", scenario=...)`` with nothing else
    set. A JaxMARL whose defaults are others raises ValueError as well. ``SMAX_RACES`` are ours: the
    generators of SMACv2's scenario of that name with the two of its three unit types that SMAX has.
    """
    if scenario in SMAX_RACES:
        return _race(scenario)
    module = jaxmarl_module("smax")
    scenarios = module.smax_env.MAP_NAME_TO_SCENARIO
    if scenario not in scenarios:
        known = ", ".join(sorted(scenarios))
        raise ValueError(f"no SMAX scenario named {scenario!r}; there are {known}")
    table = scenarios[scenario]
    env: Any = module.HeuristicEnemySMAX(scenario=table)
    expected = {
        "enemy_shoots": True,
        "attack_mode": "closest",
        "walls_cause_death": True,
        "see_enemy_actions": True,
        "use_self_play_reward": False,
        "observation_type": "unit_list",
        "action_type": "discrete",
        "num_movement_actions": 5,
    }
    other = [name for name, value in expected.items() if getattr(env, name) != value]
    if other:
        raise ValueError(f"this JaxMARL has other defaults for {', '.join(other)}")
    tables = {
        "health": env.unit_type_health,
        "velocity": env.unit_type_velocities,
        "damage": env.unit_type_attacks,
        "reach": env.unit_type_attack_ranges,
        "sight": env.unit_type_sight_ranges,
        "radius": env.unit_type_radiuses,
        "reload": env.unit_type_weapon_cooldowns,
    }
    return Rules(
        scenario=scenario,
        n_allies=env.num_allies,
        n_enemies=env.num_enemies,
        n_types=env.unit_type_bits,
        unit_types=np.asarray(table.unit_types, np.int32),
        random_types=bool(table.smacv2_unit_type_generation),
        random_positions=bool(table.smacv2_position_generation),
        by_type={name: np.asarray(tables[name], np.float32) for name in FEATURES},
        width=float(env.map_width),
        height=float(env.map_height),
        dt=float(env.time_per_step),
        substeps=int(env.world_steps_per_env_step),
        time_limit=int(env.max_steps),
        win_bonus=float(env.won_battle_bonus),
    )


RACE_TYPES = {"terran": (0, 1), "protoss": (2, 3), "zerg": (4, 5)}
"""marine and marauder, stalker and zealot, zergling and hydralisk"""


def _race(scenario: str) -> Rules:
    race, allies, _, enemies = scenario.split("_")
    rules = load_rules(f"smacv2_{allies}_units")
    weights = [0.5 if kind in RACE_TYPES[race] else 0.0 for kind in range(rules.n_types)]
    return replace(
        rules,
        scenario=scenario,
        n_enemies=int(enemies),
        unit_types=np.zeros(rules.n_allies + int(enemies), np.int32),
        type_weights=tuple(weights),
    )
