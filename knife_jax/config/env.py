"""The configuration of environments, field by field. Free of jax, as ``config`` is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from knife_jax.config.grid_games import SCENARIOS as GRID_GAMES
from knife_jax.config.grid_games import Game
from knife_jax.config.scenarios import (
    MATRIX_GAMES,
    N_PREDATORS,
    ONE_SHOT_GAMES,
    SMAX_DRAWN,
    SMAX_RACES,
    SMAX_SCENARIOS,
)
from knife_jax.config.schema import (
    ConfigError,
    Count,
    Section,
    Size,
    Steps,
    at_least,
    at_most,
    choice,
    word,
)


@dataclass(frozen=True, kw_only=True)
class EnvConfig(Section):
    """What every environment has."""

    section: ClassVar[str] = "env"
    name: Annotated[str, word(), "label"]
    n_envs: Annotated[Count, "environments stepped together"]

    def title(self) -> str:
        """The environment in a few words."""
        return self.name


@dataclass(frozen=True, kw_only=True)
class SmaxConfig(EnvConfig):
    """StarCraft-like battles in JAX, against the scripted enemy."""

    name: Annotated[str, choice("smax"), "label"] = "smax"
    scenario: Annotated[str, choice(*SMAX_SCENARIOS, *SMAX_RACES), "battle"] = "3m"
    impl: Annotated[
        str, choice("batched", "jaxmarl"), "our batched step of the same rules, or JaxMARL's own"
    ] = "batched"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.impl == "jaxmarl" and self.scenario in SMAX_RACES:
            raise ConfigError(
                f"env.impl=jaxmarl is refused: must be batched for env.scenario={self.scenario}"
            )

    def title(self) -> str:
        return f"{self.name} {self.scenario}"


@dataclass(frozen=True, kw_only=True)
class PredatorPreyConfig(EnvConfig):
    """Predator-prey on particle physics, with scripted prey."""

    name: Annotated[str, choice("mpe_predator_prey"), "label"] = "mpe_predator_prey"
    n_predators: Annotated[int, choice(*N_PREDATORS), "learning predators"] = 3

    def title(self) -> str:
        return f"{self.name} {self.n_predators}"


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

    def title(self) -> str:
        return f"{self.name} {self.scenario}"

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


@dataclass(frozen=True, kw_only=True)
class MatrixGameConfig(EnvConfig):
    """A cooperative game given by a table, with a known optimum."""

    name: Annotated[str, choice("matrix_game"), "label"] = "matrix_game"
    scenario: Annotated[str, choice(*MATRIX_GAMES), "game"] = "qtran"

    def title(self) -> str:
        return f"{self.name} {self.scenario}"


@dataclass(frozen=True, kw_only=True)
class SequenceConfig(EnvConfig):
    """Tasks trained one after the other; after the last comes the first, until env_steps."""

    n_tasks: Annotated[int, at_least(1), at_most(10_000), "different tasks"]
    steps_per_task: Annotated[Steps, "env steps before the next task"]
    order: Annotated[str, choice("fixed", "shuffled"), "order of the tasks"] = "fixed"
    task_seed: Annotated[Size, "draws the tasks, and their order if it is shuffled"] = 0
    clear_replay: Annotated[bool, "the replay is emptied at a switch"] = False
    restart_epsilon: Annotated[bool, "exploration starts anew with each task"] = True
    restart_optimiser: Annotated[bool, "the optimiser starts anew with each task"] = False

    def title(self) -> str:
        return f"{self.name}, {self.n_tasks} tasks"


@dataclass(frozen=True, kw_only=True)
class MatrixSequenceConfig(SequenceConfig):
    """One-shot matrix games in which nothing is observed."""

    name: Annotated[str, choice("seq_matrix"), "label"] = "seq_matrix"
    payoffs: Annotated[
        str,
        choice("permuted", "representable"),
        "rows and columns of the scenario in another order, or new ones that QMIX can represent",
    ] = "representable"
    scenario: Annotated[str, choice(*ONE_SHOT_GAMES), "what is permuted"] = "qtran"
    n_actions: Annotated[int, at_least(2), at_most(64), "of each agent, if representable"] = 5


@dataclass(frozen=True, kw_only=True)
class GridSequenceConfig(SequenceConfig):
    """Predator-prey on a grid, with other numbers in every task."""

    name: Annotated[str, choice("seq_grid_predator_prey"), "label"] = "seq_grid_predator_prey"
    scenario: Annotated[str, choice(*GRID_GAMES), "game that is varied, and the largest"] = "small"
    vary: Annotated[
        str, choice("rewards", "punishment", "counts", "view", "rest", "all"), "what differs"
    ] = "rewards"


@dataclass(frozen=True, kw_only=True)
class PursuitSequenceConfig(SequenceConfig):
    """Predator-prey on particle physics, with other numbers in every task."""

    name: Annotated[str, choice("seq_mpe_predator_prey"), "label"] = "seq_mpe_predator_prey"
    n_predators: Annotated[int, choice(*N_PREDATORS), "learning predators"] = 3
    vary: Annotated[str, choice("speed", "obstacles", "rewards", "all"), "what differs"] = "speed"


@dataclass(frozen=True, kw_only=True)
class SmaxSequenceConfig(SequenceConfig):
    """SMAX with other unit types or starting places in every task."""

    name: Annotated[str, choice("seq_smax"), "label"] = "seq_smax"
    scenario: Annotated[str, choice(*SMAX_DRAWN), "battle"] = "smacv2_5_units"
    vary: Annotated[str, choice("types", "starts", "all"), "what differs"] = "types"


ENVS: dict[str, type[EnvConfig]] = {
    "smax": SmaxConfig,
    "mpe_predator_prey": PredatorPreyConfig,
    "grid_predator_prey": GridPredatorPreyConfig,
    "matrix_game": MatrixGameConfig,
    "seq_matrix": MatrixSequenceConfig,
    "seq_grid_predator_prey": GridSequenceConfig,
    "seq_mpe_predator_prey": PursuitSequenceConfig,
    "seq_smax": SmaxSequenceConfig,
}
"""``env.name`` -> its section."""
