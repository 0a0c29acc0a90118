"""The configuration of environments, field by field. Free of jax, as ``config`` is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from knife_jax.envs.grid_games import SCENARIOS as GRID_GAMES
from knife_jax.envs.grid_games import Game
from knife_jax.envs.names import N_PREDATORS, SMAX_SCENARIOS
from knife_jax.schema import ConfigError, Count, Section, at_least, at_most, choice, word


@dataclass(frozen=True, kw_only=True)
class EnvConfig(Section):
    """What every environment has."""

    section: ClassVar[str] = "env"
    name: Annotated[str, word(), "label"]
    n_envs: Annotated[Count, "environments stepped together"]


@dataclass(frozen=True, kw_only=True)
class SmaxConfig(EnvConfig):
    """StarCraft-like battles in JAX, against the scripted enemy."""

    name: Annotated[str, choice("smax"), "label"] = "smax"
    scenario: Annotated[str, choice(*SMAX_SCENARIOS), "battle"] = "3m"
    impl: Annotated[
        str, choice("batched", "jaxmarl"), "our batched step of the same rules, or JaxMARL's own"
    ] = "batched"


@dataclass(frozen=True, kw_only=True)
class PredatorPreyConfig(EnvConfig):
    """Predator-prey on particle physics, with scripted prey."""

    name: Annotated[str, choice("mpe_predator_prey")] = "mpe_predator_prey"
    n_predators: Annotated[int, choice(*N_PREDATORS), "learning predators"] = 3


@dataclass(frozen=True, kw_only=True)
class GridPredatorPreyConfig(EnvConfig):
    """Predator-prey on a grid, a stag hunt. What is null is as in the scenario."""

    name: Annotated[str, choice("grid_predator_prey"), "label"] = "grid_predator_prey"
    scenario: Annotated[str, choice(*GRID_GAMES), "game"] = "stag_hunt"
    size: Annotated[int | None, at_least(1), "rows and columns of the grid"] = None
    n_agents: Annotated[int | None, at_least(1), "learning predators"] = None
    n_stags: Annotated[int | None, at_least(0), "prey that takes two to catch"] = None
    n_hares: Annotated[int | None, at_least(0), "prey that takes one to catch"] = None
    view: Annotated[int | None, at_least(0), "cells an agent sees to each side"] = None
    time_limit: Annotated[int | None, at_least(1), "steps of an episode"] = None
    stag: Annotated[float | None, "reward for a stag"] = None
    hare: Annotated[float | None, "reward for a hare"] = None
    miss: Annotated[float | None, "reward for each prey that too few tried to catch"] = None
    collision: Annotated[float | None, "reward for each agent that stays where it is"] = None
    time: Annotated[float | None, "reward of each step"] = None
    rest: Annotated[
        float | None, at_least(0), at_most(1), "probability that a prey stays where it is"
    ] = None
    freeze: Annotated[bool | None, "agents leave the grid with what they caught"] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        game = self.game()
        if game.population == game.n_agents or game.population > game.size**2:
            raise ConfigError(
                f"env.n_agents={game.n_agents} env.n_stags={game.n_stags} "
                f"env.n_hares={game.n_hares} is refused: must be at least one prey, and all "
                f"must fit into {game.size} x {game.size} cells"
            )

    def game(self) -> Game:
        """The scenario with what is changed."""
        changed = {name: getattr(self, name) for name in Game._fields}
        given = {name: value for name, value in changed.items() if value is not None}
        return GRID_GAMES[self.scenario]._replace(**given)


ENVS: dict[str, type[EnvConfig]] = {
    "smax": SmaxConfig,
    "mpe_predator_prey": PredatorPreyConfig,
    "grid_predator_prey": GridPredatorPreyConfig,
}
"""``env.name`` -> its section."""
