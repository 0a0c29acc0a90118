"""The configuration of a run, field by field. Free of jax, so that it loads at once.

The numbers of environments, algorithms and presets are in ``configs/``; a default stands here
only where all of them share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import PurePath
from typing import Annotated, Any, ClassVar

import yaml

from knife_jax.config.algo import AlgoConfig
from knife_jax.config.env import EnvConfig
from knife_jax.config.environments import ENVS
from knife_jax.config.grafting import NoneConfig
from knife_jax.config.methods import PLASTICITIES
from knife_jax.config.plasticity import PlasticityConfig
from knife_jax.config.schema import (
    ConfigError,
    Count,
    Path,
    Section,
    Size,
    Steps,
    StepsOrZero,
    at_least,
    choice,
    fields_of,
    is_section,
    shown,
    suggestion,
    word,
)
from knife_jax.console.scrub import leak

GROUPS = ("env", "algo", "preset", "plasticity", "logger", "experiment", "launcher", "search")
"""groups of files in ``configs/``"""

MISSING_VALUE = "???"
"""how YAML files spell a value that is still to be given"""


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(Section):
    """Which study a run belongs to."""

    section: ClassVar[str] = "experiment"
    name: Annotated[str, word(), "label"] = "none"
    methods: Annotated[str, "what knife_jax.study compares: plasticity methods, a,b,..."] = "none"


@dataclass(frozen=True, kw_only=True)
class LoggerConfig(Section):
    """Where numbers go beside the run directory."""

    section: ClassVar[str] = "logger"
    name: Annotated[str, word(), "label"] = "local"
    wandb: Annotated[str, choice("offline", "online", "disabled"), "Weights & Biases"] = "offline"
    project: Annotated[str, "W&B project"] = "knife_jax"
    entity: Annotated[str | None, "W&B user or team"] = None
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


PATHS = tuple(name for name, item in fields_of(Config).items() if item.is_path())
"""fields that hold a path"""


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain dictionaries; ``from_dict`` is its inverse."""
    return asdict(config)


def to_yaml(config: Config, allow_unicode: bool = False) -> str:
    """The configuration as YAML, whose strings nothing but a YAML reader may interpret."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=allow_unicode)


def from_dict(values: Mapping[str, Any]) -> Config:
    """The configuration that plain dictionaries spell, with every key checked.

    Raises ``ConfigError`` for a key that is unknown or missing and for a value not allowed.
    """
    sections = _sections(values)
    known = _keys(sections)
    given = _flat(values)
    for key, value in given.items():
        if key not in known:
            raise _unknown(key, value, known)
    free = _free_text(sections)
    if leaked := leak({key: value for key, value in given.items() if key in free}):
        raise ConfigError(f"{leaked}: secrets do not belong in a configuration")
    for key, required in known.items():
        if required and given.get(key, MISSING_VALUE) == MISSING_VALUE:
            raise ConfigError(f"{key} is not set: write {key}=...")
    built = {name: type_(**values.get(name, {})) for name, type_ in sections.items()}
    return Config(**{**values, **built})


def defaults(section: type[Section] = Config) -> dict[str, Any]:
    """The fields every run has, with their values; ``???`` where ``configs/`` must say."""
    out: dict[str, Any] = {}
    for item in fields(section):
        type_ = fields_of(section)[item.name].type
        if is_section(type_):
            out[item.name] = defaults(type_)
        else:
            out[item.name] = MISSING_VALUE if item.default is MISSING else item.default
    return out


def _sections(values: Mapping[str, Any]) -> dict[str, type[Section]]:
    """Section names -> types, for the environment and the method that the values name."""
    types = {key: item.type for key, item in fields_of(Config).items() if is_section(item.type)}
    envs = {name: entry.config for name, entry in ENVS.items()}
    for key, label, table in (("env", "name", envs), ("plasticity", "method", PLASTICITIES)):
        section = values.get(key, {"method": "none"} if key == "plasticity" else None)
        name = section.get(label) if isinstance(section, Mapping) else section
        if not isinstance(name, str) or name not in table:
            known = f"must be one of {', '.join(table)}{suggestion(shown(name), table)}"
            raise ConfigError(f"{key}.{label}={shown(name)} is refused: {known}")
        types[key] = table[name]
    return types


def _keys(sections: Mapping[str, type[Section]]) -> dict[str, bool]:
    """Every dotted key, and whether a value must be given."""
    top = {item.name: item for item in fields(Config) if item.name not in sections}
    below = {f"{name}.{item.name}": item for name, t in sections.items() for item in fields(t)}
    return {key: item.default is MISSING for key, item in (top | below).items()}


def _free_text(sections: Mapping[str, type[Section]]) -> set[str]:
    """The dotted keys that take any text: what they hold is written down as it is."""
    out = set()
    for name, section in {"": Config, **sections}.items():
        for item, declared in fields_of(section).items():
            if declared.type is str and not any(a.options for a in declared.allowed):
                out.add(f"{name}.{item}".lstrip("."))
    return out


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        out |= _flat(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return out


def _unknown(key: str, value: object, known: Iterable[str]) -> ConfigError:
    inside = [k for k in known if k.startswith(f"{key}.")]
    if inside:
        return ConfigError(f"{key}={shown(value)} is refused: set {', '.join(inside)}")
    section, _, leaf = key.rpartition(".")
    siblings = [k for k in (*known, *GROUPS) if k.rpartition(".")[0] == section]
    same_leaf = [k for k in known if k.rpartition(".")[2] == leaf]
    near = suggestion(key, same_leaf, 0) or suggestion(key, siblings or known, 0.75)
    listed = f"; {section} has {', '.join(k.rpartition('.')[2] for k in siblings)}"
    return ConfigError(f"unknown key {key!r}{near or listed * bool(section and siblings)}")
