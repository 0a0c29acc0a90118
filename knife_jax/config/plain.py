"""A configuration as plain dictionaries and YAML, and back with every key checked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, Field, asdict, fields
from typing import Any

import yaml

from knife_jax.config.algo import AlgoConfig
from knife_jax.config.environments import ENVS
from knife_jax.config.factorisation import ALGOS
from knife_jax.config.methods import PLASTICITIES
from knife_jax.config.mixers import MIXERS
from knife_jax.config.run import GROUPS, Config
from knife_jax.config.schema import (
    ConfigError,
    Section,
    fields_of,
    is_section,
    nearest,
    refusal,
    shown,
    suggestion,
)
from knife_jax.console.scrub import leak

MISSING_VALUE = "???"
"""how YAML files spell a value that is still to be given"""


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
    free, free_names = _free(sections)
    given = flat(values, free_names)
    for key, value in given.items():
        if key not in known:
            raise _unknown(key, value, known)
    texts = {key: value for key, value in given.items() if key in free}
    for name in free_names & {*given}:
        texts |= flat({name: given[name]})
    if leaked := leak(texts):
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
            out[item.name] = MISSING_VALUE if _is_required(item) else item.default
    return out


def flat(
    values: Mapping[str, Any], whole: Collection[str] = (), prefix: str = ""
) -> dict[str, Any]:
    """The fields of a configuration by dotted keys; those in ``whole`` are not gone into."""
    out = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        inner = isinstance(value, Mapping) and key not in whole
        out |= flat(value, whole, f"{key}.") if inner else {key: value}
    return out


def _sections(values: Mapping[str, Any]) -> dict[str, type[Section]]:
    """Section names -> types, for the environment, mixer and method that the values name."""
    types = {key: item.type for key, item in fields_of(Config).items() if is_section(item.type)}
    envs = {name: entry.config for name, entry in ENVS.items()}
    algos = {name: ALGOS.get(name, AlgoConfig) for name in MIXERS}
    for key, label, table, default in (
        ("env", "name", envs, None),
        ("algo", "mixer", algos, "qmix"),
        ("plasticity", "method", PLASTICITIES, "none"),
    ):
        section = values.get(key, {})
        name = section.get(label, default) if isinstance(section, Mapping) else section
        if not isinstance(name, str) or name not in table:
            given, known = f"{key}.{label}={shown(name)}", f"one of {', '.join(table)}"
            raise ConfigError(refusal(given, known, nearest(shown(name), table)))
        types[key] = table[name]
    return types


def _keys(sections: Mapping[str, type[Section]]) -> dict[str, bool]:
    """Every dotted key, and whether a value must be given."""
    top = {item.name: item for item in fields(Config) if item.name not in sections}
    below = {f"{name}.{item.name}": item for name, t in sections.items() for item in fields(t)}
    return {key: _is_required(item) for key, item in (top | below).items()}


def _is_required(item: Field) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def _free(sections: Mapping[str, type[Section]]) -> tuple[set[str], set[str]]:
    """The dotted keys that take any text, which is written down as it is; and any names."""
    texts, names = set(), set()
    for name, section in {"": Config, **sections}.items():
        for item, declared in fields_of(section).items():
            key = f"{name}.{item}".lstrip(".")
            if declared.is_open():
                names.add(key)
            elif declared.type is str and not any(a.options for a in declared.allowed):
                texts.add(key)
    return texts, names


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
