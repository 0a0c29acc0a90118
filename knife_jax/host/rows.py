"""Rows of numbers: one per seed and moment."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from knife_jax.greedy import Episodes

Row = dict[str, Any]
"""``kind``, ``seed``, ``env_steps``, ``updates``, ``task``, ``wall_time`` and the values."""

IDENTITY = ("kind", "seed", "env_steps", "updates", "task", "wall_time", "train_seconds")
"""fields of a row that say when and what, rather than how well"""


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
    """The rows of a ``metrics.jsonl``."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def over_tasks(rows: Sequence[Row]) -> list[Row]:
    """Rows with the evaluations of all tasks of a sequence at one moment as their mean."""
    moments: dict[tuple, list[Row]] = {}
    for i, row in enumerate(rows):
        evaluated = row.get("kind") == "eval"
        moment = (row["seed"], row["env_steps"]) if evaluated else (i,)
        moments.setdefault(moment, []).append(row)
    return [together[0] | _means(together) for together in moments.values()]


def _means(rows: Sequence[Row]) -> Row:
    names = [name for name in rows[0] if name not in IDENTITY] if len(rows) > 1 else []
    columns = {name: [row[name] for row in rows] for name in names}
    return {name: None if None in c else sum(c) / len(c) for name, c in columns.items()}


def chunk_rows(
    seeds: Sequence[int], metrics: Mapping[str, Mapping[str, Any]], has_win: bool, **stamp: Any
) -> list[Row]:
    """The rows of a chunk: its surgeries, then its end."""
    values = {name: v for name, v in metrics["train"].items() if has_win or name != "win_rate"}
    surgeries = surgery_rows(seeds, metrics["surgery"], wall_time=stamp["wall_time"])
    return surgeries + seed_rows("train", seeds, values, **stamp)


def evaluation_rows(
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
    return seed_rows("eval", seeds, values, **stamp)
