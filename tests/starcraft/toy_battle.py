"""A toy battle: two teams of StarCraft II's units, in game loops, the same for the same seed."""

import math
import random
from dataclasses import dataclass, field
from typing import Any

SIZE = 32  # map cells a side
IDLE = 8  # loops that a new unit stands still
N_TYPES = 300  # the map's own unit types are the last nine of these
STOP, MOVE, ATTACK, HEAL = 4, 16, 23, 386


@dataclass(frozen=True)
class Kind:
    """What a type of unit can do; ranges in cells, times in game loops."""

    name: str
    enemy_type: int
    health: int
    shield: int
    damage: float
    range: float
    cooldown: int
    speed: float = 0.14


KINDS = (  # in the order in which upstream's client expects the map's own types
    Kind("baneling", 9, 30, 0, 16, 0.5, 1, 0.16),
    Kind("colossus", 4, 200, 150, 20, 7, 24),
    Kind("hydralisk", 107, 90, 0, 12, 5, 10, 0.16),
    Kind("marauder", 51, 125, 0, 10, 6, 25),
    Kind("marine", 48, 45, 0, 6, 5, 15),
    Kind("medivac", 54, 150, 0, 0, 4, 0, 0.16),
    Kind("stalker", 74, 80, 80, 13, 6, 35, 0.18),
    Kind("zealot", 73, 100, 50, 16, 0.5, 22),
    Kind("zergling", 105, 35, 0, 5, 0.5, 11, 0.18),
)
BY_TYPE = {N_TYPES - len(KINDS) + i: kind for i, kind in enumerate(KINDS)}
BY_TYPE |= {kind.enemy_type: kind for kind in KINDS}


@dataclass
class Unit:
    tag: int
    type: int
    owner: int
    x: float
    y: float
    idle: int
    kind: Kind = field(init=False)
    cooldown: float = 0.0
    order: tuple[int, Any] | None = None  # ability and a point or another unit

    def __post_init__(self):
        self.kind = BY_TYPE[self.type]
        self.health, self.shield = float(self.kind.health), float(self.kind.shield)
        self.energy = 50.0 if self.kind.name == "medivac" else 0.0

    def distance(self, other: "Unit") -> float:
        return math.hypot(other.x - self.x, other.y - self.y)

    def walk(self, x: float, y: float) -> bool:
        """One loop towards a point; whether the unit is there."""
        left = math.hypot(x - self.x, y - self.y)
        part = min(1.0, self.kind.speed / max(left, 1e-9))
        self.x = min(max(self.x + part * (x - self.x), 0.5), SIZE - 0.5)
        self.y = min(max(self.y + part * (y - self.y), 0.5), SIZE - 0.5)
        return left <= self.kind.speed

    def hurt(self, damage: float):
        shielded = min(self.shield, damage)
        self.shield -= shielded
        self.health -= damage - shielded


class Battle:
    """Units of two owners; the same seed and the same orders give the same battle."""

    def __init__(self, seed: int):
        self.random, self.loop, self.last_tag = random.Random(seed), 0, 0x100000000
        self.units: dict[int, Unit] = {}

    def create(self, type: int, owner: int, x: float, y: float):
        self.last_tag += 0x40001
        x, y = (c + self.random.uniform(-0.4, 0.4) for c in (x, y))
        self.units[self.last_tag] = Unit(self.last_tag, type, owner, x, y, IDLE)

    def command(self, tag: int, ability: int, target: Any):
        if unit := self.units.get(tag):
            target = self.units.get(target) if isinstance(target, int) else target
            unit.order = (ability, target) if target and ability != STOP else None

    def step(self):
        """One game loop: everyone acts, then all hits count at once."""
        self.loop += 1
        hits: list[tuple[Unit, float]] = []
        for unit in self.units.values():
            unit.cooldown = max(0.0, unit.cooldown - 1)
            unit.idle -= 1
            if unit.idle < 0:
                self._act(unit, hits)
        for unit, damage in hits:
            unit.hurt(damage)
        self.units = {tag: unit for tag, unit in self.units.items() if unit.health > 0}

    def _act(self, unit: Unit, hits: list[tuple[Unit, float]]):
        ability, target = unit.order or (STOP, None)
        if ability == MOVE:
            if unit.walk(*target):
                unit.order = None
            return
        if target is None or target.health <= 0:
            unit.order, target = None, self._nearest(unit)
        if target is None:
            return
        if unit.distance(target) > unit.kind.range + 0.75:  # the bodies of both
            if unit.order or unit.owner == 2:  # enemies walk up by themselves
                unit.walk(target.x, target.y)
        elif unit.kind.name == "medivac":
            if unit.energy >= 0.33 and target.health < target.kind.health:
                unit.energy -= 0.33
                target.health = min(target.health + 0.8, target.kind.health)
        elif unit.cooldown == 0:
            unit.cooldown = unit.kind.cooldown + self.random.randrange(3)
            if unit.kind.name == "baneling":
                near = [e for e in self.units.values() if e.owner != unit.owner]
                hits += [(e, unit.kind.damage) for e in near if e.distance(target) < 2.2]
                hits.append((unit, unit.health))
            else:
                hits.append((target, unit.kind.damage))

    def _nearest(self, unit: Unit) -> Unit | None:
        """The nearest unit to attack, or to heal."""
        heals = unit.kind.name == "medivac"
        others = [
            other
            for other in self.units.values()
            if (other.owner == unit.owner) == heals and other.kind.name != "medivac" * heals
        ]
        return min(others, key=unit.distance, default=None)
