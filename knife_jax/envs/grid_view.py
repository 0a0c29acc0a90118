"""How hunts on a grid look."""

from __future__ import annotations

import jax.numpy as jnp

from knife_jax.config.grid_games import Game
from knife_jax.envs.base import TimeStep
from knife_jax.envs.view import Arena, Body, Kind, Scene, View
from knife_jax.types import PyTree

ACTIONS = ("right", "down", "left", "up", "stay", "catch")
AGENT, STAG, HARE = range(3)


def hunt_view(game: Game) -> View:
    """The grid with agents and prey, of a game with the most of both; rows go downwards."""
    stride, size = game.size + 2, game.size
    kinds = (Kind("predator", 0.36, game.view + 0.5), Kind("stag", 0.36), Kind("hare", 0.26))
    bodies = (
        *(Body(f"agent {i + 1}", "agent", AGENT) for i in range(game.n_agents)),
        *(Body(f"stag {i + 1}", "prey", STAG) for i in range(game.n_stags)),
        *(Body(f"hare {i + 1}", "prey", HARE) for i in range(game.n_hares)),
    )

    def look(hunts: PyTree, now: TimeStep) -> Scene:
        del now
        cells = jnp.concatenate([hunts.world.agents, hunts.world.prey]).T
        row, column = cells // stride - 1, cells % stride - 1
        present = cells > 0
        return {
            "x": jnp.where(present, column + 0.5, 0.0),
            "y": jnp.where(present, size - row - 0.5, 0.0),
            "present": present,
        }

    arena = Arena(0.0, 0.0, float(size), float(size), kinds, bodies, cells=True)
    return View(ACTIONS, arena, look)
