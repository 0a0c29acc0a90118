"""Scores of the methods of a study in [0, 1], and the measures made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from knife_jax.report import continual, transfer
from knife_jax.report.continual import Scores
from knife_jax.report.runs import Run
from knife_jax.report.stats import Estimate, pooled, prediction

FRESH = "fresh_per_task"
"""the method that the plasticity gap is measured against"""


class Compared(NamedTuple):
    """The scores of all runs on one scale."""

    metric: str
    scale: str
    """what 0 and 1 are, in words"""
    courses: dict[str, Scores]
    """method -> scores in [0, 1], a row for each visit of a task"""


def has_own_drawings(config: Mapping[str, Any]) -> bool:
    """Whether each seed of a run met tasks of its own."""
    return config["env"].get("drawing") == "per_seed"


def compare(runs: Sequence[Run]) -> Compared:
    """Scores on one scale. Raises ``ValueError`` if tasks were not evaluated together."""
    evaluated = [record for run in runs for record in run.of("eval")]
    metric = "win_rate" if all("win_rate" in record for record in evaluated) else "return"
    raw = {run.name: continual.scores(run.records, metric) for run in runs}
    if metric == "win_rate":
        return Compared(metric, "win rates", {n: continual.by_visit(p) for n, p in raw.items()})
    own = has_own_drawings(runs[0].config)
    seen = _extremes([*raw.values()], own)
    tasks = sorted({record["task"] for record in evaluated})
    best = {(r["seed"], r["task"]): r["return"] + r["regret"] for r in evaluated if "regret" in r}
    known = len(best) == len(seen) * len(tasks)
    courses = dict[str, Scores]()
    for name, p in raw.items():
        low, high = np.moveaxis(np.array([seen[seed] for seed in p.seeds]), -1, 0)
        if known:
            high = np.array([[best[seed, task] for task in tasks] for seed in p.seeds])
        width = np.where(high > low, high - low, 1.0)
        values = (p.values - low[..., None]) / width[..., None]
        courses[name] = continual.by_visit(p._replace(values=values))
    below = any((ends[:, 0] < 0).any() for ends in seen.values())
    zero = "0 the lowest return of any run, if below 0" if below else "0 is a return of 0"
    one = "the task's optimum" if known else f"the best of any run{' and seed' * (not own)}"
    return Compared(metric, f"returns by task{' and seed' * own}: {zero}, 1 {one}", courses)


def _extremes(raw: Sequence[Scores], own: bool) -> dict[int, Float[np.ndarray, "K 2"]]:
    """Seed -> the lowest return of any run on each task, or 0, and the best: on its own tasks, or,
    if all seeds met the same ones, of any seed."""
    seen: dict[int, list[np.ndarray]] = {}
    for p in raw:
        for seed, values in zip(p.seeds.tolist(), p.values, strict=True):
            seen.setdefault(seed, []).append(values)
    everything = np.concatenate([values for of_seed in seen.values() for values in of_seed], axis=1)

    def ends(values: np.ndarray) -> np.ndarray:
        return np.stack([np.minimum(values.min(axis=1), 0), values.max(axis=1)], axis=-1)

    return {
        seed: ends(np.concatenate(of_seed, axis=1) if own else everything)
        for seed, of_seed in seen.items()
    }


class Values(NamedTuple):
    """What a measure is made of: its IQM is reported, less that of ``less`` if there is one."""

    values: Float[np.ndarray, "S K"]
    less: Float[np.ndarray, "S K"] | None = None

    def estimate(self) -> Estimate:
        """With its interval."""
        return pooled(self.values, self.less)

    def prediction(self) -> tuple[float, float]:
        """For one further seed."""
        return prediction(self.values, self.less)


def scored(p: Scores) -> dict[str, Float[np.ndarray, "S K"]]:
    """The measures of how well a method does, that a protocol can be about."""
    ends = continual.at_task_end(p)
    return {"score": ends, "late_score": ends[:, late(ends)], "area": continual.area(p)}


def late(values: Float[np.ndarray, "S K"]) -> slice:
    """The last quarter of the tasks."""
    n_tasks = values.shape[1]
    return slice(n_tasks - math.ceil(n_tasks / 4), None)


KEPT = {
    "zero_shot": transfer.zero_shot,
    "backward_transfer": transfer.backward_transfer,
    "forgotten": transfer.forgetting,
    "return_score": transfer.return_scores,
    "return_gain": transfer.return_gains,
}
"""measure -> what it is the mean over tasks of; absent if there are no such tasks"""


def _by_seed(values: Float[np.ndarray, "S J"]) -> Float[np.ndarray, "S 1"]:
    """The mean over the tasks of each seed."""
    return values.mean(axis=1, keepdims=True)


def measure(run: Run, p: Scores, fresh: Scores | None) -> dict[str, Values]:
    """All measures of a method; those of the gap only if there are fresh networks."""
    out = {name: Values(values) for name, values in scored(p).items()}
    n_tasks = p.values.shape[1]
    if n_tasks > 1:
        out["recovery_steps"] = Values(continual.recovery_time(p)[:, 1:])
    kept = {name: of(p) for name, of in KEPT.items()}
    out |= {name: Values(_by_seed(values)) for name, values in kept.items() if values.size}
    if fresh is not None:
        p, fresh = continual.shared(p, fresh)
    if fresh is not None and fresh.seeds.size:
        wanted, ends = continual.at_task_end(fresh), continual.at_task_end(p)
        out["gap"] = Values(wanted, ends)
        out["late_gap"] = Values(wanted[:, late(wanted)], ends[:, late(ends)])
        if n_tasks > 1:
            out["gap_slope"] = Values(continual.slope(wanted - ends)[:, None])
            areas, of_fresh = transfer.first_areas(p), transfer.first_areas(fresh)
            out["forward_transfer"] = Values(_by_seed(areas), _by_seed(of_fresh))
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
