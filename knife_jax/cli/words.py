"""The words of a command line, one by one.

``env=smax``, ``+env=smax`` and ``++env=smax`` mean the same. Hydra would accept ``+algo.lrr=1``
and let the last of two ``env=`` win in silence; here every word is refused that does not change a
declared field in the way it says. Paths are taken as they are typed.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Override,
    Quote,
    QuotedString,
)
from hydra.errors import HydraException

from knife_jax.cli import environment
from knife_jax.cli.files import options, user_dir
from knife_jax.config.environments import ENVS
from knife_jax.config.run import GROUPS, PATHS, Config
from knife_jax.config.schema import LONGEST, ConfigError, fields_of, shown, suggestion

FLAGS = {
    "--help": "--help", "-h": "--help", "--version": "--version", "--hydra-help": "--hydra-help",
    "--multirun": "--multirun", "-m": "--multirun", "--resolve": "--resolve",
    "--cfg": "--cfg", "-c": "--cfg", "--config-dir": "--config-dir", "-cd": "--config-dir",
}  # fmt: skip
"""Options -> the names that they are known by here."""

SHOWN = ("job", "hydra", "all")
"""what ``--cfg`` can show"""

ACTIONS = ("--help", "--version", "--hydra-help", "--cfg", "--multirun")
"""options of which one is enough; ``--help`` may be asked about a sweep, too"""

LABELS = {
    "env.name": "env", "plasticity.method": "plasticity", "plasticity.name": "plasticity",
    "algo.name": "algo", "algo.preset": "preset", "logger.name": "logger",
    "experiment.name": "experiment",
}  # fmt: skip
"""fields that name what a group has chosen -> the group"""

DECISIVE = ("env.name", "plasticity.method")
"""those on which it depends which other fields there are"""

SETTINGS = {"hydra.searchpath": "--config-dir FOLDER", "hydra.sweep.dir": "run_dir=..."}
"""settings of Hydra that have words of their own"""

WORD = re.compile(r"(?P<sign>\+\+?|~)?(?P<key>[\w-]+(?:[./@:][\w-]+)*)(?:=(?P<value>.*))?", re.S)


class Words(NamedTuple):
    """A command line, taken apart."""

    flags: dict[str, str]
    """options with their values; empty for those that have none"""
    overrides: list[Override]
    config_dir: Path | None = None
    """the folder of the user's own files"""

    def is_sweep(self) -> bool:
        """Whether several jobs are asked for."""
        return "--multirun" in self.flags

    def in_sweep_folder(self) -> Words:
        """With a new folder in ``runs/`` for the jobs, unless ``run_dir`` names one."""
        if any(o.key_or_group == "run_dir" and o.value() is not None for o in self.overrides):
            return self
        kept = [o for o in self.overrides if o.key_or_group != "run_dir"]
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = override(f"run_dir=runs/{stamp}-sweep-{secrets.token_hex(2)}")
        return self._replace(overrides=[*kept, folder])

    def swept(self) -> list[str]:
        """The fields and groups that take several values."""
        return [o.key_or_group for o in self.overrides if o.is_sweep_override()]


def parse(argv: Sequence[str]) -> Words:
    """Options and overrides of a command line. Raises ``ConfigError`` for one it cannot read."""
    flags: dict[str, str] = {}
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        if not word.startswith("-"):
            words.append(word)
            continue
        typed, equals, value = word.partition("=")
        if typed not in FLAGS:
            if (field := typed.lstrip("-")) in fields_of(Config):
                raise ConfigError(f"unknown option {typed!r}; write {field}=...")
            near = suggestion(typed, FLAGS, 0.7) or "; see --help"
            raise ConfigError(f"unknown option {_cut(typed)}{near}")
        name = FLAGS[typed]
        if name in flags:
            raise ConfigError(f"{name} is given 2 times; give it once")
        if name in ("--cfg", "--config-dir"):
            value = value if equals else next(rest, "")
            if not value:
                raise ConfigError(f"option {typed} needs a value")
        elif equals:
            raise ConfigError(f"option {typed} takes no value")
        flags[name] = value
    _check_options(flags)
    config_dir = user_dir(flags["--config-dir"]) if "--config-dir" in flags else None
    overrides = [override(word, config_dir) for word in words]
    counts = Counter(o.key_or_group for o in overrides)
    for name, count in counts.items():
        if count > 1:
            both = zip(overrides, words, strict=True)
            given = " ".join(word for o, word in both if o.key_or_group == name)
            raise ConfigError(f"{name} is given {count} times: {given}; give it once")
    presets = {preset for o in overrides if (preset := _preset_of(o))}
    if "preset" not in counts and presets:
        overrides.append(override(f"preset={presets.pop()}"))
    overrides += [override(f"{name}={literal(text)}") for name, text in environment.fields(counts)]
    return Words(flags, overrides, config_dir)


def _check_options(flags: dict[str, str]) -> None:
    first, *others = [name for name in ACTIONS if name in flags] or [""]
    if others and (first, others) != ("--help", ["--multirun"]):
        raise ConfigError(f"{first} and {others[0]} exclude each other; give one of them")
    if flags.get("--cfg", "job") not in SHOWN:
        known = f"must be one of {', '.join(SHOWN)}"
        raise ConfigError(f"--cfg {shown(flags['--cfg'])} is refused: {known}")
    if "--resolve" in flags and flags.get("--cfg") != "job":
        raise ConfigError("--resolve is for --cfg job, which is always resolved")


def override(word: str, config_dir: Path | None = None) -> Override:
    """One word, read. Raises ``ConfigError``."""
    taken = WORD.fullmatch(word)
    if not taken or (taken["value"] is None and taken["sign"] != "~"):
        raise ConfigError(f"cannot read {_cut(word)}: write field=value or group=option")
    name, value = taken["key"], taken["value"]
    if taken["sign"] == "~":
        raise ConfigError(f"{_cut(word)} is refused: a field can be set but not deleted")
    if name in SETTINGS:
        raise ConfigError(f"{name} is refused: write {SETTINGS[name]}")
    if name in PATHS and value != "null":
        word = f"{name}={literal(value)}"
    try:
        read = OverridesParser.create().parse_override(word)
    except (HydraException, ValueError, RecursionError):
        refused = f"{name}={shown(value)} is refused: cannot be read as a value"
        raise ConfigError(f"{refused}; write '{name}=\"...\"' for text") from None
    if not read.is_hydra_override():
        _check(read, config_dir)
    return read


def literal(text: str) -> str:
    """Text in the spelling of which Hydra and OmegaConf make the same text again."""
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    return QuotedString(escaped, Quote.single).with_quotes()


def _check(word: Override, config_dir: Path | None) -> None:
    name, value = word.key_or_group, word.value()
    if word.package is not None:
        raise ConfigError(f"{word.input_line!r} is refused: write {name}=... without '@'")
    if group := LABELS.get(name):
        known = [file.stem for file in options(group, config_dir)]
        if name in DECISIVE or value in known:
            allowed = f"choose by {group}=..., one of {', '.join(known)}"
            raise ConfigError(f"{plain(word)} is refused: {allowed}")
    if isinstance(value, dict) and "." not in name:
        inside = ", ".join(f"{name}.{key}=..." for key in value) or f"{name}.field=..."
        raise ConfigError(f"{plain(word)} is refused: write {inside}")
    named = isinstance(value, str) and re.fullmatch(r"[\w-]+", value)
    if name in GROUPS and not named and not word.is_sweep_override():
        known = ", ".join(file.stem for file in options(name, config_dir))
        raise ConfigError(f"{plain(word)} is refused: must be one of {known}")


def _preset_of(word: Override) -> str | None:
    """The preset of all environments that the word chooses, if they have one and the same."""
    if word.key_or_group != "env":
        return None
    value = word.value()
    chosen = value.list if isinstance(value, ChoiceSweep) else [value]
    first, *others = {_preset_of_option(str(option)) for option in chosen}
    return None if others else first


def _preset_of_option(name: str) -> str | None:
    """The preset of an environment, or of the user's own file of a sequence."""
    if name in ENVS:
        return ENVS[name].preset
    return "continual" if name.startswith("seq_") else None


def plain(word: Override) -> str:
    """A word without the ``+`` or ``++``, which Hydra's own settings alone tell apart."""
    written = word.input_line or ""
    return written if word.is_hydra_override() else written.lstrip("+")


def _cut(word: str) -> str:
    return repr(word) if len(word) <= LONGEST else shown(word)
