"""The lines of ``metrics.jsonl``: a record for each seed and moment. Free of jax."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from knife_jax.console.messages import warn

Record = dict[str, Any]
"""``kind``, ``seed``, ``env_steps``, ``updates``, ``task``, ``wall_time`` and the values."""

EVAL, FINAL, ABSOLUTE = "eval", "final", "absolute"
EVALUATIONS = (EVAL, FINAL, ABSOLUTE)
"""kinds of greedy evaluations: during training, of the policy at its end, and of the best
one (the absolute metric of Gorsane et al. 2022); no two play the same episodes"""

IDENTITY = ("kind", "seed", "env_steps", "updates", "task", "wall_time", "train_seconds")
"""fields of a record that say when and what, rather than how well"""

KINDS = ("surgery", "train", "probe", *EVALUATIONS)
"""of records, in the order in which those of one moment are written"""

COUNTS = ("seed", "env_steps", "updates", "task")
"""whole numbers that tell the records of a kind apart: no two agree in all of them"""

TIMES = ("wall_time", "train_seconds")
"""fields that differ between two runs of one configuration"""

NEEDED = {
    "surgery": ("units_operated", "churn_max"),
    **dict.fromkeys(EVALUATIONS, ("return",)),
}
"""values without which a record of a kind says nothing"""


class RecordError(Exception):
    """A file of a run is not what a run writes. The message is one line."""


class Read(NamedTuple):
    """What is in a ``metrics.jsonl``."""

    records: list[Record]
    """by moment, kind, task and seed, each once"""
    notes: list[str]
    """what was dropped, a line each"""
    torn_after: str | None = None
    """the kind of the record before a last line that is torn"""


def read_records(path: Path) -> list[Record]:
    """The records of a ``metrics.jsonl``, with a warning if some had to be dropped.

    Raises ``RecordError`` if what is left cannot be trusted, see ``parsed``.
    """
    read = parsed(path.read_bytes())
    for note in read.notes:
        warn(f"{path}: {note}")
    return read.records


def parsed(content: bytes) -> Read:
    """The records that the bytes of a ``metrics.jsonl`` spell.

    Dropped, with a note: a last line that is torn, as a full disk or a killed machine leaves it,
    and records that are there twice, as two processes in one folder wrote them; the first counts.
    Raises ``RecordError`` for any other line that is not a record.
    """
    lines = [(i, line) for i, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    records: dict[tuple, Record] = {}
    notes, torn_after, doubled, other = list[str](), None, 0, 0
    record = {}
    for i, line in lines:
        try:
            record = json.loads(line.decode(), parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            if i == lines[-1][0]:
                notes.append("its last line is torn and is dropped")
                torn_after = record.get("kind")
                break
            raise RecordError(f"line {i} of metrics.jsonl cannot be read ({error})") from None
        if wrong := _wrong(record):
            raise RecordError(f"line {i} of metrics.jsonl is not a record: {wrong}")
        first = records.setdefault((record["kind"], *(record[name] for name in COUNTS)), record)
        doubled += first is not record
        other += _untimed(first) != _untimed(record)
    if doubled:
        differing = f", {other} of them with other numbers: two runs wrote here" if other else ""
        notes.append(f"{doubled} doubled records are dropped{differing}")
    return Read(sorted(records.values(), key=_place), notes, torn_after)


def to_lines(records: Sequence[Record]) -> bytes:
    """The bytes of a ``metrics.jsonl``; strictly: NaN and infinity raise ``ValueError``."""
    return "".join(json.dumps(record, allow_nan=False) + "\n" for record in records).encode()


def _place(record: Record) -> tuple:
    return record["env_steps"], KINDS.index(record["kind"]), record["task"], record["seed"]


def _untimed(record: Record) -> Record:
    return {name: value for name, value in record.items() if name not in TIMES}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _wrong(record: Any) -> str | None:
    """Why this is not a record, if it is none."""
    if not isinstance(record, dict):
        return "it has no fields"
    if record.get("kind") not in KINDS:
        return f"kind={record.get('kind')!r:.40} must be one of {', '.join(KINDS)}"
    for name in COUNTS:
        count = record.get(name)
        if type(count) is not int or not 0 <= count < 2**63:
            return f"{name}={count!r:.40} must be a whole number"
    for name in ("wall_time", *NEEDED.get(record["kind"], ())):
        if name not in record:
            return f"{name} is missing"
    numbers = (name for name in record if name != "kind" and not _is_number(record[name]))
    wrong = next(numbers, None)
    return None if wrong is None else f"{wrong!r:.40}={record[wrong]!r:.40} must be a number"


def _is_number(value: Any) -> bool:
    """Whether JSON and NumPy take it, or it is None."""
    if isinstance(value, int):
        return abs(value) < 2**63
    return value is None or (isinstance(value, float) and math.isfinite(value))
