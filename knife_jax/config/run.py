"""The configuration of a run, field by field. Free of jax, so that it loads at once.

The numbers of environments, algorithms and presets are in ``configs/``; a default stands here
only where all of them share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Annotated, ClassVar

from knife_jax.config.algo import AlgoConfig
from knife_jax.config.env import EnvConfig
from knife_jax.config.games import GamesConfig
from knife_jax.config.grafting import NoneConfig
from knife_jax.config.plasticity import PlasticityConfig
from knife_jax.config.protocol import protocol
from knife_jax.config.schema import (
    ConfigError,
    Count,
    Named,
    Path,
    Section,
    Size,
    Steps,
    StepsOrZero,
    at_least,
    at_most,
    choice,
    fields_of,
    shown,
    word,
)

GROUPS = ("env", "algo", "preset", "plasticity", "logger", "experiment", "launcher", "search")
"""groups of files in ``configs/``"""


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(Section):
    """Which study a run belongs to."""

    section: ClassVar[str] = "experiment"
    name: Annotated[str, word(), "label"] = "none"
    methods: Annotated[str, "what knife_jax.study compares: plasticity methods, a,b,..."] = "none"
    levels: Annotated[
        str | None, "FIELD=a,b,...: all methods at each of these levels of a field, in numbers"
    ] = None
    protocol: Annotated[Named | None, "label"] = None
    """see ``config.protocol``"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.protocol is not None:
            protocol(self.protocol)


@dataclass(frozen=True, kw_only=True)
class LoggerConfig(Section):
    """Where numbers go beside the run directory."""

    section: ClassVar[str] = "logger"
    name: Annotated[str, word(), "label"] = "local"
    wandb: Annotated[str, choice("offline", "online", "disabled"), "Weights & Biases"] = "offline"
    project: Annotated[str, "W&B project"] = "knife_jax"
    entity: Annotated[str | None, "W&B user or team"] = None
    tensorboard: Annotated[bool, "TensorBoard event files"] = False
    table: Annotated[bool, "live table in the terminal"] = True


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Section):
    """Greedy episodes while training and at its end."""

    section: ClassVar[str] = "evaluation"
    every: Annotated[Steps, "env steps between evaluations"]
    episodes: Annotated[Count, "episodes of an evaluation"] = 128


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig(Section):
    """What a run keeps of itself, to be resumed from."""

    section: ClassVar[str] = "checkpoint"
    every: Annotated[StepsOrZero, "env steps between checkpoints; 0 = only at the end"] = 300_000
    keep: Annotated[Count, "newest checkpoints kept, beside the best one"] = 2
    buffer: Annotated[
        str, choice("full", "none"), "whether the replay is kept; only full resumes bit for bit"
    ] = "full"


@dataclass(frozen=True, kw_only=True)
class DebugConfig(Section):
    """Slow checks."""

    section: ClassVar[str] = "debug"
    nans: Annotated[bool, "stop at the first NaN and name the operation that made it"] = False


@dataclass(frozen=True, kw_only=True)
class ProbesConfig(Section):
    """Instruments that look at the networks between chunks of training."""

    section: ClassVar[str] = "probes"
    every: Annotated[StepsOrZero, "env steps between probes of the networks; 0 = never"] = 500_000
    windows: Annotated[Count, "replayed windows or episodes whose activations are measured"] = 32
    functions: Annotated[Count, "random functions that copies of the networks learn"] = 2
    fit_steps: Annotated[Size, "optimiser steps on each random function; 0 = none"] = 0


@dataclass(frozen=True, kw_only=True)
class RecordingConfig(Section):
    """What can be watched of a run at its end."""

    section: ClassVar[str] = "recording"
    episodes: Annotated[
        int,
        at_least(0),
        at_most(64),
        "episodes in recording.html, to be watched; 0 = none",
    ] = 4


@dataclass(frozen=True, kw_only=True)
class Config(Section):
    """A run."""

    seed: Annotated[Size, "first seed"] = 0
    num_seeds: Annotated[Count, "seeds trained side by side: seed, seed+1, …"] = 1
    env_steps: Annotated[Steps, "budget of each seed"]
    run_dir: Annotated[Path | None, "where results go; null = a new folder in runs/"] = None
    devices: Annotated[
        int | None,
        at_least(1),
        "devices to train on; null = all that divide the seeds, a CPU being one per core",
    ] = None
    compile_cache: Annotated[bool, "keep compiled programs in the user's cache folder"] = True
    distributed: Annotated[bool, "several processes share the seeds (jax.distributed)"] = False
    resume: Annotated[
        Path | None,
        "auto = go on in run_dir, or begin there; a run or checkpoint folder = go on from it",
    ] = None
    log_every: Annotated[
        Steps, "env steps between log lines; evaluations, probes and checkpoints come no oftener"
    ]
    env: EnvConfig
    algo: AlgoConfig
    plasticity: PlasticityConfig = field(default_factory=NoneConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    evaluation: EvaluationConfig
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    debug: DebugConfig = field(default_factory=DebugConfig)
    probes: ProbesConfig = field(default_factory=ProbesConfig)
    games: GamesConfig = field(default_factory=GamesConfig)
    recording: RecordingConfig = field(default_factory=RecordingConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        path = self.run_dir
        if path is not None and ".." in PurePath(path).parts:
            raise ConfigError(f"run_dir={shown(path)} is refused: must be a path without '..'")
        if path is None and (self.resume == "auto" or self.distributed):
            word = "resume=auto" if self.resume == "auto" else "distributed=true"
            raise ConfigError(f"{word} is refused: write run_dir=... to say which run it is")
        if (last := self.seed + self.num_seeds - 1) >= 2**31:
            raise ConfigError(
                f"seed={self.seed} num_seeds={self.num_seeds} is refused: the last seed would be "
                f"{last}, must be at most {2**31 - 1}"
            )
        n_envs, batch = self.env.n_envs, self.algo.batch_size
        if self.algo.data == "rollouts" and n_envs % batch:
            raise ConfigError(
                f"algo.batch_size={batch} is refused: must divide env.n_envs={n_envs} with "
                "algo.data=rollouts"
            )
        self.env.check_run(self)

    @property
    def seeds(self) -> list[int]:
        """The seeds, in the order of the axis S."""
        return list(range(self.seed, self.seed + self.num_seeds))


def check_config(config: object) -> None:
    """Raise ``ConfigError`` for what is no configuration, such as the words of one."""
    if not isinstance(config, Config):
        made = "what knife_jax.compose makes of words"
        raise ConfigError(f"config={config!r:.80} is refused: must be {made}")


PATHS = tuple(name for name, item in fields_of(Config).items() if item.is_path())
"""fields that hold a path"""
