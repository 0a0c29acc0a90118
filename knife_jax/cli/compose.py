"""Command-line words, checked before anything heavy is imported: no jax on this path.

``env=smax``, ``+env=smax`` and ``++env=smax`` mean the same. Hydra would accept ``+algo.lrr=1``
and let the last of two ``env=`` win in silence; here every word is refused that does not change a
declared field in the way it says.
"""

from __future__ import annotations

import itertools
import math
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, ValueType
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from knife_jax.config import GROUPS, Config, defaults, from_dict
from knife_jax.schema import ConfigError, suggestion

FLAGS = {
    "--help": False, "-h": False, "--version": False, "--hydra-help": False,
    "--multirun": False, "-m": False, "--resolve": False,
    "--cfg": True, "-c": True, "--config-dir": True, "-cd": True,
}  # fmt: skip
"""Options we pass on -> whether a value follows."""

LISTS = (ValueType.SIMPLE_CHOICE_SWEEP, ValueType.CHOICE_SWEEP, ValueType.RANGE_SWEEP)

PRESET_OF_SEQUENCES = "continual"
"""what ``env=seq_...`` trains with, unless told otherwise"""

SWEEPERS = ("launcher", "search")
"""groups that say how the jobs of a sweep are started and chosen"""

PLUGINS = ("joblib", "ray", "submitit_local", "submitit_slurm", "optuna")
"""launchers and sweepers of Hydra that the extra ``sweep`` installs"""

MOST_COMBINATIONS = 32
"""a larger sweep is checked value by value instead"""

STORE = ConfigStore.instance()
STORE.store(name="schema", node=defaults(), provider="knife_jax")


class Words(NamedTuple):
    """A command line, taken apart and put into Hydra's plain spelling."""

    flags: list[str]
    overrides: list[Override]
    config_dir: str | None

    def has(self, *names: str) -> bool:
        """Whether one of these options was given."""
        return any(flag in names for flag in self.flags)

    def is_sweep(self) -> bool:
        """Whether several jobs were asked for."""
        return self.has("-m", "--multirun")

    def in_sweep_folder(self) -> Words:
        """With a new folder in ``runs/`` for the jobs, unless ``run_dir`` names one."""
        if any(o.key_or_group == "run_dir" and o.value() is not None for o in self.overrides):
            return self
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = _override(f"run_dir=runs/{stamp}-sweep-{secrets.token_hex(2)}")
        return self._replace(overrides=[*self.overrides, folder])

    def swept(self) -> list[str]:
        """The fields and groups that take several values."""
        return [o.key_or_group for o in self.overrides if o.is_sweep_override()]

    def argv(self) -> list[str]:
        """What Hydra gets to see."""
        return [*self.flags, *(plain(override) for override in self.overrides)]


def configs_dir() -> Path:
    """``configs/`` inside the installed package, else beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"the configuration files are missing: no configs/train.yaml near {package}")


def options(group: str) -> list[Path]:
    """The files of a group."""
    return sorted((configs_dir() / group).glob("*.yaml"))


@cache
def _store_combinations() -> None:
    """``algo=ALGORITHM_METHOD`` for every file of the two groups, as if each were a file, too."""
    for algo, method in itertools.product(options("algo"), options("plasticity")):
        if method.stem == "none":
            continue
        name = f"{algo.stem}_{method.stem}"
        chosen = [f"{algo.stem}@algo", {"override /plasticity": method.stem}, "_self_"]
        node = {"defaults": chosen, "algo": {"name": name}}
        STORE.store(group="algo", name=name, node=node, package="_global_", provider="knife_jax")


def compose(overrides: Sequence[str] = (), config_dir: str | None = None) -> Config:
    """The configuration that command-line words ask for, as ``train`` would get it.

    Raises ``ConfigError``.
    """
    return _composed(parse(list(overrides)).overrides, config_dir)


def parse(argv: Sequence[str]) -> Words:
    """Options and overrides of a command line. Raises ``ConfigError`` for one it cannot read."""
    flags: list[str] = []
    words: list[str] = []
    config_dir = None
    rest = iter(argv)
    for word in rest:
        if not word.startswith("-"):
            words.append(word)
            continue
        name, equals, value = word.partition("=")
        if name not in FLAGS:
            near = suggestion(name, FLAGS, 0.7) or "; see --help"
            raise ConfigError(f"unknown option {name!r}{near}")
        flags.append(name)
        if FLAGS[name]:
            value = value if equals else next(rest, "")
            if not value:
                raise ConfigError(f"option {name} needs a value")
            flags.append(value)
            config_dir = value if name in ("--config-dir", "-cd") else config_dir
    overrides = [_override(word) for word in words]
    counts = Counter(o.key_or_group for o in overrides if o.key_or_group in GROUPS)
    for group, count in counts.items():
        if count > 1:
            given = " ".join(o.input_line or "" for o in overrides if o.key_or_group == group)
            raise ConfigError(f"{group} is given {count} times: {given}; give it once")
    if "preset" not in counts and any(_is_sequence(override) for override in overrides):
        overrides.append(_override(f"preset={PRESET_OF_SEQUENCES}"))
    return Words(flags, overrides, config_dir)


def _override(word: str) -> Override:
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        raise ConfigError(f"cannot read {word!r}: write field=value or group=option") from None
    name = override.key_or_group
    if not override.is_hydra_override():
        if override.is_delete():
            raise ConfigError(f"{word!r} is refused: a field can be set but not deleted")
        if override.package is not None:
            raise ConfigError(f"{word!r} is refused: write {name}=... without '@'")
        option = override.value()
        named = isinstance(option, str) and re.fullmatch(r"[\w-]+", option)
        if name in GROUPS and not named and not override.is_sweep_override():
            known = ", ".join(file.stem for file in options(name))
            raise ConfigError(f"{plain(override)} is refused: must be one of {known}")
    return override


def _is_sequence(override: Override) -> bool:
    return override.key_or_group == "env" and all(
        value.startswith("env=seq_") for value in map(plain, _values(override))
    )


def plain(override: Override) -> str:
    """An override without the ``+`` or ``++``, which Hydra's own settings alone tell apart."""
    written = override.input_line or ""
    return written if override.is_hydra_override() else written.lstrip("+")


def preflight(words: Words) -> Config:
    """Compose every job that a command line asks for. The first one's configuration.

    Raises ``ConfigError`` for the first thing refused.
    """
    overrides = words.overrides
    if words.is_sweep():
        overrides = [*_searched(words), *overrides]  # the command line wins
    else:
        for override in overrides:
            if override.is_sweep_override():
                raise ConfigError(f"{plain(override)} is a sweep: add -m, or quote the value")
            if override.key_or_group in SWEEPERS:
                raise ConfigError(f"{plain(override)} is for sweeps: add -m")
    first, *_ = [_composed(job, words.config_dir) for job in _jobs(overrides)]
    return first


def _searched(words: Words) -> list[Override]:
    """What a file of ``search`` adds to the command line."""
    for name in ("run_dir", *SWEEPERS):
        if name in words.swept():
            raise ConfigError(f"{name} cannot be swept: all jobs of a sweep have the same")
    fixed = [override for override in words.overrides if not override.is_sweep_override()]
    sweeper = _raw(fixed, words.config_dir, hydra=True).hydra.sweeper
    for override in words.overrides:
        if isinstance(override.value(), IntervalSweep) and "Basic" in sweeper["_target_"]:
            raise ConfigError(f"{plain(override)} is refused: intervals need search=...")
    space = sweeper.get("params") or {}
    return [_override(f"{name}={values}") for name, values in space.items()]


def _jobs(overrides: Sequence[Override]) -> Iterator[list[Override]]:
    """The overrides of each job; for a large sweep, jobs that show each value once."""
    values = [_values(override) for override in overrides]
    if math.prod(map(len, values)) <= MOST_COMBINATIONS:
        yield from map(list, itertools.product(*values))
        return
    first = [listed[0] for listed in values]
    yield first
    for i, listed in enumerate(values):
        for other in listed[1:]:
            yield [*first[:i], other, *first[i + 1 :]]


def _values(override: Override) -> list[Override]:
    """What an override sets, job by job."""
    if not override.is_sweep_override():
        return [override]
    name = override.key_or_group
    value = override.value()
    if isinstance(value, IntervalSweep):
        ends = (value.start, value.end)
        return [_override(f"{name}={end}") for end in ends]
    listed = override.sweep_string_iterator() if override.value_type in LISTS else ()
    values = [_override(f"{name}={value}") for value in listed]
    if not values:
        raise ConfigError(f"{plain(override)} lists no values: write {name}=a,b or range(0,5)")
    return values


@contextmanager
def _one_line() -> Iterator[None]:
    """Hydra's and OmegaConf's errors as ours."""
    try:
        yield
    except MissingConfigException as error:
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        known = error.options or []
        if option in PLUGINS:
            install = "pip install -c constraints.txt -e '.[sweep]'"
            raise ConfigError(f"{group}={option} is not installed: {install}") from None
        listed = f"must be one of {', '.join(known)}" if known else "there is no such group"
        near = suggestion(option, known)
        raise ConfigError(f"{group}={option} is refused: {listed}{near}") from None
    except (HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError) as error:
        raise ConfigError(" ".join(str(error).split())) from None


def _composed(overrides: Sequence[Override], config_dir: str | None) -> Config:
    return read(_raw(overrides, config_dir))


def _raw(overrides: Sequence[Override], config_dir: str | None, hydra: bool = False) -> DictConfig:
    """What Hydra composes, its own settings included if asked for."""
    _store_combinations()
    words = []
    for override in overrides:
        # fields are forced in, so that from_dict alone decides which of them exist
        free = override.is_hydra_override() or override.key_or_group in GROUPS
        words.append(plain(override) if free else f"++{plain(override)}")
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise ConfigError(f"--config-dir {config_dir}: there is no such folder")
        words.append(f"hydra.searchpath=['file://{Path(config_dir).resolve()}']")
    with _one_line(), initialize_config_dir(str(configs_dir()), version_base="1.3"):
        return hydra_compose("train", words, return_hydra_config=hydra)


def read(composed: DictConfig) -> Config:
    """The configuration that Hydra composed. Raises ``ConfigError``."""
    with _one_line():
        values = OmegaConf.to_container(composed, resolve=True)
    return from_dict(cast("dict[str, Any]", values))
