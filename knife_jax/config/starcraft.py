"""SMACv2: battles in StarCraft II itself, outside of jax. Free of jax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from knife_jax.config.env import EnvConfig, SequenceConfig
from knife_jax.config.registry import resolve
from knife_jax.config.scenarios import SMACV2_SCENARIOS
from knife_jax.config.schema import ConfigError, choice

if TYPE_CHECKING:
    from knife_jax.config.run import Config


@dataclass(frozen=True, kw_only=True)
class BattleConfig(EnvConfig):
    """What one battle and sequences of them have in common."""

    scenario: Annotated[str, choice(*SMACV2_SCENARIOS), "battle"] = "terran_5_vs_5"
    reward_scale: Annotated[
        str,
        choice("upstream", "expected"),
        "20 is the return of a win over the first episode's enemies, or over the expected ones",
    ] = "upstream"
    obs: Annotated[
        str,
        choice("upstream", "fixed"),
        "as SMACv2 gives it, or without its fault that hides enemies in sight",
    ] = "upstream"

    def check_run(self, run: Config) -> None:
        """Raise ``ConfigError`` for what games outside of jax cannot do."""
        if run.distributed:
            raise ConfigError(f"distributed=true is refused: must be false for env={self.name}")
        if run.devices is not None and run.devices > run.num_seeds:
            raise ConfigError(
                f"devices={run.devices} is refused: must be at most {run.num_seeds} for "
                f"env={self.name}, one for each seed (num_seeds)"
            )
        games = run.num_seeds * self.n_envs + run.games.evaluation
        if games > run.games.limit:
            raise ConfigError(
                f"num_seeds={run.num_seeds} env.n_envs={self.n_envs} is refused: with "
                f"games.evaluation={run.games.evaluation} these are {games} games at once, must be "
                f"at most games.limit={run.games.limit}"
            )

    def check_installed(self) -> None:
        """Raise ``ConfigError`` if there is no game."""
        if missing := resolve("knife_jax.envs.smacv2.doctor:missing")():
            raise ConfigError(f"env={self.name} is refused: {missing}")


@dataclass(frozen=True, kw_only=True)
class Smacv2Config(BattleConfig):
    """SMACv2: battles in StarCraft II against its own AI, a process for each game."""

    name: Annotated[str, choice("smacv2"), "label"] = "smacv2"

    def title(self) -> str:
        return f"{self.name} {self.scenario}"


@dataclass(frozen=True, kw_only=True)
class Smacv2SequenceConfig(BattleConfig, SequenceConfig):
    """SMACv2 with other unit weights, starting places, enemies or races in every task."""

    name: Annotated[str, choice("seq_smacv2"), "label"] = "seq_smacv2"
    vary: Annotated[str, choice("weights", "starts", "enemies", "races"), "what differs"] = (
        "weights"
    )

    def check_run(self, run: Config) -> None:
        """Raise ``ConfigError`` also for tasks that differ between seeds."""
        super().check_run(run)
        if self.drawing != "shared":
            raise ConfigError(
                f"env.drawing={self.drawing} is refused: must be shared for env={self.name}, "
                "whose games play the tasks of all seeds"
            )
