"""Rows of numbers: one per seed and moment."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from knife_jax.console.messages import warn

if TYPE_CHECKING:
    from knife_jax.builders.program import Program
    from knife_jax.training.evaluator import Episodes

Row = dict[str, Any]
"""``kind``, ``seed``, ``env_steps``, ``updates``, ``task``, ``wall_time`` and the values."""

EVAL, FINAL, ABSOLUTE = "eval", "final", "absolute"
EVALUATIONS = (EVAL, FINAL, ABSOLUTE)
"""kinds of greedy evaluations: while training goes on, of the policy at its end, and of the best
one (the absolute metric of Gorsane et al. 2022); no two play the same episodes"""

IDENTITY = ("kind", "seed", "env_steps", "updates", "task", "wall_time", "train_seconds")
"""fields of a row that say when and what, rather than how well"""

KINDS = ("surgery", "train", "probe", *EVALUATIONS)
"""of rows, in the order in which those of one moment are written"""

COUNTS = ("seed", "env_steps", "updates", "task")
"""whole numbers that tell the rows of a kind apart: no two have all of them the same"""

TIMES = ("wall_time", "train_seconds")
"""fields that differ between two runs of the same configuration"""

NEEDED = {
    "surgery": ("units_operated", "churn_max"),
    **dict.fromkeys(EVALUATIONS, ("return",)),
}
"""values without which a row of a kind says nothing"""


class RecordError(Exception):
    """A file of a run is not what a run writes. The message is one line."""


class Read(NamedTuple):
    """What is in a ``metrics.jsonl``."""

    rows: list[Row]
    """by moment, kind, task and seed, each once"""
    notes: list[str]
    """what was dropped, a line each"""
    torn_after: str | None = None
    """the kind of the row before a last line that is torn"""


def number(value: Any) -> int | float | bool | None:
    """A scalar as JSON takes it, in its fewest digits; None where it is NaN or infinite."""
    value = np.asarray(value)[()]
    if isinstance(value, np.floating):
        return float(str(value)) if math.isfinite(value) else None
    return value.item()


def seed_rows(
    kind: str, seeds: Sequence[int], values: Mapping[str, Any], **same: int | float
) -> list[Row]:
    """One row per seed from values with axis ``[S]``; ``same`` is in all of them."""
    rows = []
    for s, seed in enumerate(seeds):
        row = {name: number(value[s]) for name, value in values.items()}
        row |= {"kind": kind, "seed": seed, **same}
        rows.append({name: row.pop(name) for name in IDENTITY if name in row} | row)
    return rows


def surgery_rows(seeds: Sequence[int], events: Mapping[str, Any], **same: int | float) -> list[Row]:
    """One row per surgery that fired and seed, in time order, from events ``[S, R]``."""
    values = {name: np.asarray(event) for name, event in events.items()}
    fired = values.pop("fired")
    rows = []
    for r in np.flatnonzero(fired.any(axis=0)):
        at_r = {name: value[:, r] for name, value in values.items()}
        one = seed_rows("surgery", seeds, at_r, **same)
        rows += [row for s, row in enumerate(one) if fired[s, r]]
    return rows


def read_rows(path: Path) -> list[Row]:
    """The rows of a ``metrics.jsonl``, with a warning where some had to be dropped.

    Raises ``RecordError`` where what is left cannot be trusted, see ``parsed``.
    """
    read = parsed(path.read_bytes())
    for note in read.notes:
        warn(f"{path}: {note}")
    return read.rows


def parsed(content: bytes) -> Read:
    """The rows that the bytes of a ``metrics.jsonl`` spell.

    Dropped, with a note: a last line that is torn, as a full disk or a killed machine leaves it,
    and rows that are there twice, as two processes in one folder wrote them; the first one counts.
    Raises ``RecordError`` for any other line that is not a row.
    """
    lines = [(i, line) for i, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    rows: dict[tuple, Row] = {}
    notes, torn_after, doubled, other = list[str](), None, 0, 0
    row = {}
    for i, line in lines:
        try:
            row = json.loads(line.decode(), parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            if i == lines[-1][0]:
                notes.append("its last line is torn and is dropped")
                torn_after = row.get("kind")
                break
            raise RecordError(f"line {i} of metrics.jsonl cannot be read ({error})") from None
        if wrong := _wrong(row):
            raise RecordError(f"line {i} of metrics.jsonl is not a row: {wrong}")
        first = rows.setdefault((row["kind"], *(row[name] for name in COUNTS)), row)
        doubled += first is not row
        other += _untimed(first) != _untimed(row)
    if doubled:
        differing = f", {other} of them with other numbers: two runs wrote here" if other else ""
        notes.append(f"{doubled} doubled rows are dropped{differing}")
    return Read(sorted(rows.values(), key=_place), notes, torn_after)


def lines(rows: Sequence[Row]) -> bytes:
    """The bytes of a ``metrics.jsonl``; strictly: NaN and infinity raise ``ValueError``."""
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()


def _place(row: Row) -> tuple:
    return row["env_steps"], KINDS.index(row["kind"]), row["task"], row["seed"]


def _untimed(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in TIMES}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _wrong(row: Any) -> str | None:
    """Why this is not a row, if it is none."""
    if not isinstance(row, dict):
        return "it has no fields"
    if row.get("kind") not in KINDS:
        return f"kind={row.get('kind')!r:.40} must be one of {', '.join(KINDS)}"
    for name in COUNTS:
        count = row.get(name)
        if type(count) is not int or not 0 <= count < 2**63:
            return f"{name}={count!r:.40} must be a whole number"
    for name in ("wall_time", *NEEDED.get(row["kind"], ())):
        if name not in row:
            return f"{name} is missing"
    numbers = (name for name in row if name != "kind" and not _is_number(row[name]))
    wrong = next(numbers, None)
    return None if wrong is None else f"{wrong!r:.40}={row[wrong]!r:.40} must be a number"


def _is_number(value: Any) -> bool:
    """Whether JSON and NumPy take it, or it is None."""
    if isinstance(value, int):
        return abs(value) < 2**63
    return value is None or (isinstance(value, float) and math.isfinite(value))


def over_tasks(rows: Sequence[Row]) -> list[Row]:
    """Rows with the evaluations of all tasks of a sequence at one moment as their mean."""
    moments: dict[tuple, list[Row]] = {}
    for i, row in enumerate(rows):
        evaluated = row.get("kind") in EVALUATIONS
        moment = (row["kind"], row["seed"], row["env_steps"]) if evaluated else (i,)
        moments.setdefault(moment, []).append(row)
    return [together[0] | _means(together) for together in moments.values()]


def _means(rows: Sequence[Row]) -> Row:
    names = [name for name in rows[0] if name not in IDENTITY] if len(rows) > 1 else []
    columns = {name: [row[name] for row in rows] for name in names}
    return {name: _mean(column) for name, column in columns.items()}


def _mean(column: Sequence[Any]) -> Any:
    """The mean; equal counts stay whole numbers, and it is None if any value is."""
    if None in column:
        return None
    return column[0] if len({*column}) == 1 else sum(column) / len(column)


def chunk_rows(
    seeds: Sequence[int], metrics: Mapping[str, Mapping[str, Any]], program: Program, **stamp: Any
) -> list[Row]:
    """The rows of a chunk: its surgeries, then its end."""
    has_win = program.spec.has_win
    values = {name: v for name, v in metrics["train"].items() if has_win or name != "win_rate"}
    events = dict(metrics["surgery"])
    events["env_steps"] = np.asarray(events.pop("rounds"), np.int64) * program.round_steps
    surgeries = surgery_rows(seeds, events, wall_time=stamp["wall_time"])
    return surgeries + seed_rows("train", seeds, values, **stamp)


def evaluation_rows(
    kind: str,
    seeds: Sequence[int],
    episodes: Episodes,
    has_win: bool,
    optimum: float | None = None,
    **stamp: Any,
) -> list[Row]:
    """Means over the episodes ``[S, M]`` of each seed; ``optimum`` is the best expected return."""
    values = {"return": episodes.returns.mean(axis=1)}
    if optimum is not None:
        values["regret"] = optimum - values["return"]
    if has_win:
        values["win_rate"] = episodes.won.mean(axis=1)
    values["length"] = episodes.lengths.mean(axis=1)
    values["episodes"] = np.full(len(seeds), episodes.returns.shape[1])
    return seed_rows(kind, seeds, values, **stamp)
