"""Scores of the methods of a study in [0, 1], and the measures made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from knife_jax.report import continual
from knife_jax.report.continual import Scores
from knife_jax.report.runs import Run
from knife_jax.report.stats import Estimate, pooled

FRESH = "fresh_per_task"
"""the method that the plasticity gap is measured against"""


class Compared(NamedTuple):
    """The scores of all runs on one scale."""

    metric: str
    scale: str
    """what 0 and 1 are, in words"""
    courses: dict[str, Scores]
    """method -> scores in [0, 1], a row for each visit of a task"""


def compare(runs: Sequence[Run]) -> Compared:
    """Scores on one scale. Raises ``ValueError`` if tasks were not evaluated together."""
    evaluated = [record for run in runs for record in run.of("eval")]
    metric = "win_rate" if all("win_rate" in record for record in evaluated) else "return"
    raw = {run.name: continual.scores(run.records, metric) for run in runs}
    low, high, scale = _range(evaluated, list(raw.values()), metric)
    width = np.where(high > low, high - low, 1.0)
    courses = {
        name: continual.by_visit(p._replace(values=(p.values - low[:, None]) / width[:, None]))
        for name, p in raw.items()
    }
    return Compared(metric, scale, courses)


def _range(evaluated: Sequence[dict[str, Any]], raw: Sequence[Scores], metric: str):
    """The scores of each task ``[K]`` that count as 0 and 1, and in words what they are."""
    seen = np.concatenate([p.values.swapaxes(0, 1).reshape(p.values.shape[1], -1) for p in raw], 1)
    if metric == "win_rate":
        return np.zeros(len(seen)), np.ones(len(seen)), "win rates"
    low = np.minimum(seen.min(axis=1), 0)
    zero = (
        "0 is a return of 0" if (low == 0).all() else "0 the lowest return of any run, if below 0"
    )
    best = {r["task"]: r["return"] + r["regret"] for r in evaluated if "regret" in r}
    if len(best) == len(seen):
        high = np.array([best[task] for task in sorted(best)])
        return low, high, f"returns by task: {zero}, 1 the task's optimum"
    return low, seen.max(axis=1), f"returns by task: {zero}, 1 the best of any run and seed"


class Values(NamedTuple):
    """What a measure is made of: its IQM is reported, less that of ``less`` if there is one."""

    values: Float[np.ndarray, "S K"]
    less: Float[np.ndarray, "S K"] | None = None

    def estimate(self, whole_seeds: bool = False) -> Estimate:
        """With its interval."""
        return pooled(self.values, self.less, whole_seeds)


def measure(run: Run, p: Scores, fresh: Scores | None) -> dict[str, Values]:
    """All measures of a method; those of the gap only if there are fresh networks."""
    ends = continual.at_task_end(p)
    n_tasks = ends.shape[1]
    late = slice(n_tasks - math.ceil(n_tasks / 4), None)
    out = {
        "score": Values(ends),
        "late_score": Values(ends[:, late]),
        "area": Values(continual.area(p)),
        "forgetting": Values(continual.forgetting(p)),
    }
    if n_tasks > 1:
        out["recovery_steps"] = Values(continual.recovery_time(p)[:, 1:])
    if fresh is not None and np.intersect1d(p.seeds, fresh.seeds).size:
        _, ours, theirs = np.intersect1d(p.seeds, fresh.seeds, return_indices=True)
        wanted = continual.at_task_end(fresh)[theirs]
        out["gap"] = Values(wanted, ends[ours])
        out["late_gap"] = Values(wanted[:, late], ends[ours][:, late])
        if n_tasks > 1:
            slopes = continual.slope(wanted - ends[ours])
            out["gap_slope"] = Values(slopes[:, None])
    for name in ("stagnant_pct", "dormant_pct"):
        last = {r["seed"]: r[name] for r in run.of("train") if r.get(name) is not None}
        if last:
            out[f"final_{name}"] = Values(np.array(list(last.values()))[:, None])
    return out


def surgery(run: Run) -> dict[str, float | None]:
    """The largest change of a value by surgery, None if it was not measured, and the mean
    number of units operated on per seed; empty if there was none."""
    records = run.of("surgery")
    if not records:
        return {}
    churn = [record["churn_max"] for record in records]
    units = sum(record["units_operated"] for record in records)
    return {
        "churn_max": None if None in churn else max(churn),
        "units_operated": units / len(run.seeds),
    }
