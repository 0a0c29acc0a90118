"""Records as series: means over the tasks of a sequence, and arrays over seeds and moments."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from knife_jax.records.lines import COUNTS, EVALUATIONS, IDENTITY, Record


def series(records: Sequence[Record], kind: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Env steps ``[P]`` and values ``[S, P]`` of one quantity; NaN if a record has none."""
    points = {
        (record["seed"], record["env_steps"]): record[name]
        for record in records
        if record["kind"] == kind and record.get(name) is not None
    }
    seeds = sorted({seed for seed, _ in points})
    steps = sorted({step for _, step in points})
    values = [[points.get((seed, step), np.nan) for step in steps] for seed in seeds]
    return np.array(steps), np.array(values, float).reshape(len(seeds), len(steps))


def columns(records: Sequence[Record], kind: str) -> dict[str, np.ndarray]:
    """The records of one kind by name: ``seed`` ``[S]``, what says when ``[P]``, in time order,
    and values ``[S, P]``, NaN if a record has none.

    Evaluations are means over the tasks that are there at each moment, and have no ``task``.
    """
    found = [record for record in over_tasks(records) if record["kind"] == kind]
    points = {(record["seed"], record["env_steps"], record["updates"]): record for record in found}
    seeds = sorted({seed for seed, *_ in points})
    at = {tuple(moment): record for (_, *moment), record in points.items()}
    names = [name for name in IDENTITY[2:] if not (kind in EVALUATIONS and name == "task")]
    out = {"seed": np.array(seeds, int)}
    for name in names:
        if name in COUNTS or any(name in record for record in found):
            kept = [at[moment][name] for moment in sorted(at)]
            out[name] = np.array(kept, int if name in COUNTS else float)
    for name in dict.fromkeys(name for record in found for name in record):
        if name not in IDENTITY:
            values = [[points.get((s, *m), {}).get(name) for m in sorted(at)] for s in seeds]
            out[name] = np.array(values, float)  # None becomes NaN
    return out


def over_tasks(records: Sequence[Record]) -> list[Record]:
    """Records with the evaluations of all tasks of a sequence at one moment as their mean."""
    moments: dict[tuple, list[Record]] = {}
    for i, record in enumerate(records):
        evaluated = record.get("kind") in EVALUATIONS
        moment = (record["kind"], record["seed"], record["env_steps"]) if evaluated else (i,)
        moments.setdefault(moment, []).append(record)
    return [together[0] | _means(together) for together in moments.values()]


def moments(records: Sequence[Record]) -> list[list[Record]]:
    """Records in time order, those of one kind and moment together: one for each seed."""
    names = ("kind", "updates", "env_steps")
    together = groupby(records, key=lambda record: [record[name] for name in names])
    return [[*seeds] for _, seeds in together]


def over_seeds(records: Sequence[Record]) -> Record:
    """The record of one moment whose values are the means over the seeds that have one."""
    first = records[0]
    means = dict(first)
    for name in first:
        if name not in IDENTITY:
            known = [record[name] for record in records if record[name] is not None]
            means[name] = sum(known) / len(known) if known else None
    return means


def _means(records: Sequence[Record]) -> Record:
    names = [name for name in records[0] if name not in IDENTITY] if len(records) > 1 else []
    columns = {name: [record[name] for record in records] for name in names}
    return {name: _mean(column) for name, column in columns.items()}


def _mean(column: Sequence[Any]) -> Any:
    """The mean; equal counts stay whole numbers, and it is None if any value is."""
    if None in column:
        return None
    return column[0] if len({*column}) == 1 else sum(column) / len(column)
