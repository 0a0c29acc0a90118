"""Whether two configurations are of one run: which fields decide its results. Free of jax."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from knife_jax.config.plain import flat, to_dict
from knife_jax.config.run import Config
from knife_jax.config.schema import shown

FOLDER_FIELDS = ("run_dir", "resume")
"""fields that say in which folder a run is made"""

PROTOCOL = "experiment.protocol"
"""the field that says how a study is read"""

NON_RESULT_FIELDS = (
    *FOLDER_FIELDS, "devices", "compile_cache", "distributed", "logger", "checkpoint", "probes",
    "debug", "experiment", "games", "recording",
)  # fmt: skip
"""fields that say how and in which folder a run is made and reported, not which run it is"""

RESUMABLE_FIELDS = (
    *NON_RESULT_FIELDS, "env_steps", "log_every", "evaluation", "algo.name", "algo.preset",
    "plasticity.name",
)  # fmt: skip
"""what may change when a run is resumed: budget, reports and labels"""


def config_hash(config: Config) -> str:
    """SHA-256 of all that decides the results; not of the folder they are written to."""
    return hash_of(to_dict(config))


def hash_of(fields: Mapping[str, Any]) -> str:
    """``config_hash`` of a configuration that was read, of this version or another."""
    deciding = {name: value for name, value in fields.items() if name not in NON_RESULT_FIELDS}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def result_fields(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted fields on which each step of training depends: they must be equal to resume a run.

    The budget, what is logged and evaluated, and the folder of the results may change.
    """
    out: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key not in RESUMABLE_FIELDS:
            inner = isinstance(value, Mapping)
            out |= result_fields(value, f"{key}.") if inner else {key: value}
    return out


def making_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted fields that say what is made, wherever it is kept and however it is read."""
    unsaid = (*FOLDER_FIELDS, PROTOCOL)
    return {name: value for name, value in flat(values, (PROTOCOL,)).items() if name not in unsaid}


def as_begun(config: Config, begun: Mapping[str, Any]) -> Config:
    """A configuration that goes on, with the protocol that the run began with."""
    protocol = begun.get("experiment", {}).get("protocol")
    return replace(config, experiment=replace(config.experiment, protocol=protocol))


def differences(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Fields with another value: ``algo.hidden=64 (here 128)``."""
    return [
        f"{name}={shown(saved.get(name))} (here {shown(wanted.get(name))})"
        for name in {**saved, **wanted}
        if saved.get(name) != wanted.get(name)
    ]
