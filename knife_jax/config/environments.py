"""The environments of the package: their sections, and how each is made. Free of jax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from knife_jax.config.custom import CustomConfig
from knife_jax.config.env import Case, Entry, EnvConfig, SequenceConfig
from knife_jax.config.grid_games import SCENARIOS as GRID_GAMES
from knife_jax.config.grid_games import Game
from knife_jax.config.jaxmarl import JaxmarlConfig
from knife_jax.config.scenarios import (
    MATRIX_GAMES,
    N_PREDATORS,
    ONE_SHOT_GAMES,
    SMAX_DRAWN,
    SMAX_RACES,
    SMAX_SCENARIOS,
)
from knife_jax.config.schema import ConfigError, Fraction, at_least, at_most, choice
from knife_jax.config.starcraft import Smacv2Config, Smacv2SequenceConfig

if TYPE_CHECKING:
    from knife_jax.config.run import Config


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

    def arguments(self) -> dict[str, Any]:
        """The game itself."""
        return {"game": self.game()}

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
    shared: Annotated[
        Fraction,
        "of each agent's actions, worth in every task what they are in a common game, if "
        "representable",
    ] = 0.0

    def check_run(self, run: Config) -> None:
        """Raise ``ConfigError`` for permuted payoffs that are to have something in common."""
        super().check_run(run)
        if self.shared and self.payoffs == "permuted":
            raise ConfigError(
                f"env.shared={self.shared} is refused: must be 0 for env.payoffs=permuted"
            )


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
    """SMAX with other unit types, starting places or numbers of enemies in every task."""

    name: Annotated[str, choice("seq_smax"), "label"] = "seq_smax"
    scenario: Annotated[str, choice(*SMAX_DRAWN), "battle"] = "smacv2_5_units"
    vary: Annotated[
        str, choice("types", "starts", "enemies", "all"), "what differs; enemies grow in number"
    ] = "types"


TWO_TASKS = {"n_tasks": 2, "steps_per_task": 1000}

ENVS: dict[str, Entry] = {
    "smax": Entry(
        SmaxConfig,
        "knife_jax.envs.smax.make:make",
        (
            Case({"scenario": "2s3z"}, same_length=False),
            Case({"scenario": "smacv2_5_units"}, same_length=False),
        ),
    ),
    "mpe_predator_prey": Entry(PredatorPreyConfig, "knife_jax.envs.predator_prey:make"),
    "grid_predator_prey": Entry(
        GridPredatorPreyConfig,
        "knife_jax.envs.grid_predator_prey:make",
        (
            Case(
                {"size": 5, "n_agents": 3, "n_stags": 2, "n_hares": 1, "time_limit": 29},
                same_length=False,
            ),
        ),
    ),
    "matrix_game": Entry(
        MatrixGameConfig,
        "knife_jax.envs.matrix_games:make",
        (
            Case({"scenario": "two_step"}, starts_differ=False),
            Case({"scenario": "gaussian_squeeze"}, starts_differ=False),
        ),
    ),
    "jaxmarl": Entry(
        JaxmarlConfig, "knife_jax.envs.jaxmarl:make", (Case({"id": "switch_riddle"}, False, False),)
    ),
    "custom": Entry(CustomConfig, "knife_jax.envs.custom:make", ()),
    "seq_matrix": Entry(
        MatrixSequenceConfig,
        "knife_jax.envs.sequences:matrices",
        (Case(TWO_TASKS, starts_differ=False),),
        preset="continual",
    ),
    "seq_grid_predator_prey": Entry(
        GridSequenceConfig,
        "knife_jax.envs.sequences:grid_games",
        (Case(TWO_TASKS, same_length=False),),
        preset="continual",
    ),
    "seq_mpe_predator_prey": Entry(
        PursuitSequenceConfig,
        "knife_jax.envs.sequences:pursuits",
        (Case(TWO_TASKS),),
        preset="continual",
    ),
    "seq_smax": Entry(
        SmaxSequenceConfig,
        "knife_jax.envs.sequences:battles",
        (Case(TWO_TASKS, same_length=False),),
        preset="continual",
    ),
    "smacv2": Entry(Smacv2Config, "knife_jax.envs.smacv2.make:make", (), preset="pymarl2"),
    "seq_smacv2": Entry(
        Smacv2SequenceConfig, "knife_jax.envs.smacv2.make:make_sequence", (), preset="continual"
    ),
}
"""``env.name`` -> its section, how it is made, and what it is tried with. One's own needs no entry:
``custom`` stands for it."""
