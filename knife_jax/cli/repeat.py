"""The command that makes a configuration again, in the words of this version."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from knife_jax.cli.compose import composed
from knife_jax.cli.words import literal, parse
from knife_jax.config.plain import to_dict
from knife_jax.config.schema import ConfigError
from knife_jax.records.compare import making_fields

FOUND: dict[tuple[str, ...], DictConfig] = {}
"""what groups come to, for further configurations"""


def command_of(config: Mapping[str, Any]) -> str | None:
    """``python -m knife_jax.train`` with the words that come to this configuration.

    None if no words of this version do. Choices of files come first, then single fields; fields
    that a configuration of an older version lacks take their defaults.
    """
    given = making_fields(config)
    try:
        words = [f"env={given['env.name']}", f"algo={given['algo.name']}"]
        for group, label in (
            ("experiment", "experiment.name"),
            ("preset", "algo.preset"),
            ("plasticity", "plasticity.name"),
        ):
            if given[label] not in (_fields(words)[label], "none"):
                words.append(f"{group}={given[label]}")
        usual = _fields(words)
        words += [
            f"{name}={_spelled(value)}"
            for name, value in given.items()
            if name not in usual or usual[name] != value
        ]
        again = _fields(words)
        same = all(name in again and again[name] == value for name, value in given.items())
    except (ConfigError, KeyError, TypeError):
        return None
    return f"python -m knife_jax.train {shlex.join(words)}" if same else None


def _fields(words: Sequence[str]) -> dict[str, Any]:
    """The fields that words come to."""
    return making_fields(to_dict(composed(parse(words).overrides, None, FOUND)))


def _spelled(value: Any) -> str:
    plain = isinstance(value, str) and value.replace("_", "").replace(",", "").isalnum()
    if isinstance(value, str) and not (plain and "," not in value):
        return literal(value)
    return value if isinstance(value, str) else json.dumps(value)
