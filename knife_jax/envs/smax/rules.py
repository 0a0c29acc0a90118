"""The numbers of one SMAX scenario."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from knife_jax.config.scenarios import SMAX_DRAWN, SMAX_RACES, SMAX_SCENARIOS

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


SIZE, N_TYPES = 32.0, 6
"""of the square map, and how many types of units there are: marine, marauder, stalker, zealot,
zergling, hydralisk"""

BY_TYPE = {
    "health": (45, 125, 160, 150, 35, 80),
    "velocity": (3.15, 2.25, 4.13, 3.15, 4.13, 3.15),
    "damage": (9, 10, 13, 8, 5, 12),
    "reach": (5, 6, 6, 2, 2, 5),
    "sight": (9, 10, 10, 9, 8, 9),
    "radius": (0.375, 0.5625, 0.625, 0.5, 0.375, 0.625),
    "reload": (0.61, 1.07, 1.87, 0.86, 0.5, 0.59),
}
"""JaxMARL's numbers of each type"""

NAMED = {"m": 0, "s": 2, "z": 3, "h": 5}
"""types in the names of scenarios: ``3s5z_vs_3s6z``"""


def load_rules(scenario: str) -> Rules:
    """The rules of a scenario; raises ValueError if there is none of that name.

    They are those of ``jaxmarl.make("HeuristicEnemySMAX", scenario=...)`` with nothing else set,
    restated here, because to import that takes longer than to build all else of a run.
    ``SMAX_RACES`` are ours: the generators of SMACv2's scenario of that name with the two of its
    three unit types that SMAX has.
    """
    if scenario in SMAX_RACES:
        return _race(scenario)
    if scenario not in SMAX_SCENARIOS:
        known = ", ".join(sorted(SMAX_SCENARIOS))
        raise ValueError(f"no SMAX scenario named {scenario!r}; there are {known}")
    drawn = scenario in SMAX_DRAWN
    if drawn:
        allies = enemies = [0] * int(scenario.split("_")[1])
    else:
        ours, _, theirs = scenario.partition("_vs_")
        allies, enemies = _units(ours), _units(theirs or ours)
    return Rules(
        scenario=scenario,
        n_allies=len(allies),
        n_enemies=len(enemies),
        n_types=N_TYPES,
        unit_types=np.asarray(allies + enemies, np.int32),
        random_types=drawn,
        random_positions=drawn,
        by_type={name: np.asarray(BY_TYPE[name], np.float32) for name in FEATURES},
        width=SIZE,
        height=SIZE,
        dt=1 / 16,
        substeps=8,
        time_limit=100,
        win_bonus=1.0,
    )


def _units(team: str) -> list[int]:
    """The types of the units of a team, in order."""
    found = re.findall(r"(\d+)([a-z])", team)
    return [kind for n, letter in found for kind in [NAMED[letter]] * int(n)]


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
