"""What a run directory holds, checked: the only file that reads runs. Free of jax.

``summary.json`` has sums of the configuration, of the records and of itself, so that a flipped
digit is found as well as a file that cannot be parsed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, cast

import xxhash
import yaml

from knife_jax.records.compare import hash_of
from knife_jax.records.directory import CHECKPOINTS, CONFIG, CURVE, METRICS, PARAMS, SUMMARY
from knife_jax.records.lines import ABSOLUTE, FINAL, Record, RecordError, parsed


class Status(StrEnum):
    """How far a run has come: ``status`` in ``summary.json``."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """a signal ended it: it can be resumed"""
    FAILED = "failed"
    """an error ended it"""
    DIVERGED = "diverged"
    """no seed is left"""
    COMPLETE = "complete"


ROWS, ROWS_SUM, SUM = "rows", "rows_sum", "sum"
"""in ``summary.json``: the number of records, and the sums of these and of all its other fields"""

TYPES: dict[str, tuple[type, ...]] = {
    "status": (str,), "config_hash": (str,), "versions": (dict,), "wall_seconds": (int, float),
    "seeds": (list,), "env_steps": (int,), ROWS: (int,), ROWS_SUM: (str,), SUM: (str,),
}  # fmt: skip
"""fields of ``summary.json`` that are read again"""


class StoredRun(NamedTuple):
    """A run as it stands in its directory."""

    records: list[Record]
    notes: list[str]
    """what was dropped of its records"""
    config: dict[str, Any]
    summary: dict[str, Any]
    """empty if there is none"""


def read_run(run: Path) -> StoredRun:
    """All of a run that reports are made of, checked. Raises ``RecordError``."""
    records, notes, torn_after = parsed(_content(run / METRICS))
    config, summary = read_config(run), {}
    if os.path.lexists(run / SUMMARY):
        summary = read_summary(run)
    if summary.get("config_hash", expected := hash_of(config)) != expected:
        raise RecordError(f"{CONFIG} is not that of {SUMMARY}")
    # what a run ends with are evaluations beside its course: one torn line of them is no harm
    spared = torn_after in (FINAL, ABSOLUTE) and summary.get(ROWS) == len(records) + 1
    ended = summary.get("status") != Status.RUNNING
    if ended and not spared and summary.get(ROWS_SUM, expected := records_sum(records)) != expected:
        raise RecordError(f"the records of {METRICS} are not those of {SUMMARY}")
    seeds = summary.get("seeds", [record["seed"] for record in records])
    foreign = [record["seed"] for record in records if record["seed"] not in seeds]
    if foreign:
        raise RecordError(f"{METRICS} has records of seed {foreign[0]}, which {SUMMARY} has not")
    return StoredRun(records, notes, config, summary)


def read_config(run: Path) -> dict[str, Any]:
    """The fields of ``config.yaml``, of this version or another. Raises ``RecordError``."""
    content = _content(run / CONFIG)
    try:
        values = yaml.safe_load(content.decode())
        json.dumps(values, sort_keys=True)
    except Exception as error:  # whatever its parsers meet
        raise RecordError(f"{CONFIG} cannot be read ({_brief(error)})") from None
    types = {"seed": int, "num_seeds": int, "env_steps": int, "env": dict}
    if not (
        isinstance(values, dict)
        and all(type(values.get(name)) is type_ for name, type_ in types.items())
        and isinstance(values["env"].get("name"), str)
    ):
        raise RecordError(f"{CONFIG} is not the configuration of a run")
    return cast("dict[str, Any]", values)


def read_summary(run: Path) -> dict[str, Any]:
    """The fields of ``summary.json``. Raises ``RecordError``."""
    content = _content(run / SUMMARY)
    try:
        values = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{SUMMARY} cannot be read ({_brief(error)})") from None
    if not isinstance(values, dict):
        raise RecordError(f"{SUMMARY} is not that of a run")
    for name, types in TYPES.items():
        if name in values and type(values[name]) not in types:
            raise RecordError(f"{SUMMARY} is not that of a run: {name}={values[name]!r:.40}")
    if SUM in values and values[SUM] != sealed(values)[SUM]:
        raise RecordError(f"{SUMMARY} does not match its sum")
    return values


def sealed(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary with the sum of its fields."""
    fields = {name: value for name, value in summary.items() if name != SUM}
    return {**fields, SUM: json_sum(fields)}


def records_sum(records: Sequence[Record]) -> str:
    """The sum of records that were read."""
    return json_sum(list(records))


def json_sum(value: Any) -> str:
    """The xxh3 sum of a value as JSON."""
    return xxhash.xxh3_128_hexdigest(json.dumps(value, sort_keys=True).encode())


def computed(run: Path) -> list[str]:
    """Names of what a run without a checkpoint has computed, and would lose if it restarted.

    A start that broke off before it had trained, or before its first checkpoint was kept, has
    nothing to lose but records, which ``directory.begin`` sets aside.
    """
    aside = sorted(path.name for path in (run / CHECKPOINTS).glob("*.aside"))
    held = [name for name in (METRICS, PARAMS, CURVE) if _has_content(run / name)]
    if os.path.lexists(run / SUMMARY):
        try:
            summary = read_summary(run)
        except RecordError:
            summary = {}
        begun = summary.get("status") in (Status.RUNNING, Status.FAILED) and PARAMS not in held
        if not aside and summary.get("env_steps") == 0 and METRICS not in held:
            return []
        if not aside and begun and summary.get("checkpoint", 0) is None:
            return []
        held = [SUMMARY, *held]
    return [*held, *aside]


def _has_content(path: Path) -> bool:
    """Whether there is a file with anything in it; a link that leads nowhere may have been one."""
    return os.path.lexists(path) and not (path.is_file() and path.stat().st_size == 0)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RecordError(f"there is no {path.name}") from None
    except OSError as error:
        raise RecordError(f"{path.name} cannot be read ({error.strerror or error})") from None


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:100]
