"""How battles look."""

from __future__ import annotations

import jax.numpy as jnp

from knife_jax.envs.base import TimeStep
from knife_jax.envs.smax.physics import targets
from knife_jax.envs.smax.rules import Rules
from knife_jax.envs.view import Arena, Body, Kind, Scene, View
from knife_jax.types import PyTree

MOVES = ("north", "east", "south", "west", "stop")
NAMES = ("marine", "marauder", "stalker", "zealot", "zergling", "hydralisk")
"""JaxMARL's ``unit_type_names``"""


def battle_view(rules: Rules) -> View:
    """The map with all units; each one's target is that of its last order to attack."""
    features = ("radius", "sight", "reach", "health", "reload")
    kinds = tuple(
        Kind(name, **{feature: float(rules.by_type[feature][i]) for feature in features})
        for i, name in enumerate(NAMES)
    )
    allies = (Body(f"ally {i + 1}", "agent") for i in range(rules.n_allies))
    enemies = (Body(f"enemy {i + 1}", "enemy") for i in range(rules.n_enemies))

    def look(battles: PyTree, now: TimeStep) -> Scene:
        del now
        battle = battles.battle
        seen = {
            "x": battle.x, "y": battle.y, "health": battle.health, "cooldown": battle.cooldown,
            "kind": jnp.broadcast_to(battle.unit_type, battle.x.shape),
            "target": targets(rules, battle.action),
        }  # fmt: skip
        return {name: leaf.T for name, leaf in seen.items()}

    attacks = (f"attack {i + 1}" for i in range(rules.n_enemies))
    arena = Arena(0.0, 0.0, rules.width, rules.height, kinds, (*allies, *enemies))
    return View((*MOVES, *attacks), arena, look)
