"""marl-eval's layout of raw results (Gorsane et al. 2022), from the records of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knife_jax.records.lines import Record
from knife_jax.report.runs import Run

METRICS = ("win_rate", "return")
"""what is exported"""


def layout(runs: Sequence[Run]) -> dict[str, Any]:
    """``{env: {task: {method: {seed: {step: values, ..., "absolute_metrics": values}}}}}``.

    Each value is a list of one mean over the evaluation's episodes. ``absolute_metrics`` comes
    last, as marl-eval expects: the policy with the best evaluation over all tasks and seeds, played
    again. Only seeds that all runs have, since marl-eval wants equal numbers of them. Raises
    ``ValueError`` if a run has no absolute metric.
    """
    seeds = set.intersection(*(set(run.seeds) for run in runs))
    best = {(run.name, r["task"], r["seed"]): r for run in runs for r in run.of("absolute")}
    tasks: dict[str, Any] = {}
    for run in runs:
        courses: dict[tuple[int, int], list[Record]] = {}
        for record in run.of("eval"):
            if record["seed"] in seeds:
                courses.setdefault((record["task"], record["seed"]), []).append(record)
        for (task, seed), course in sorted(courses.items()):
            methods = tasks.setdefault(f"task_{task}", {})
            if (run.name, task, seed) not in best:
                raise ValueError(f"{run.name} has no absolute metric of seed {seed}, task {task}")
            absolute = best[run.name, task, seed]
            methods.setdefault(run.name, {})[f"seed_{seed}"] = _steps(course, absolute)
    return {runs[0].config["env"]["name"]: tasks}


def _steps(course: Sequence[Record], absolute: Record) -> dict[str, Any]:
    names = [name for name in METRICS if name in course[0]]
    steps: dict[str, Any] = {
        f"step_{i}": {
            "step_count": record["env_steps"],
            "elapsed_time": round(record["wall_time"] - course[0]["wall_time"], 3),
            **{name: [record[name]] for name in names},
        }
        for i, record in enumerate(course)
    }
    return steps | {"absolute_metrics": {name: [absolute[name]] for name in names}}
