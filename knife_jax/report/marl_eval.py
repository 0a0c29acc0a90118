"""marl-eval's layout of raw results (Gorsane et al. 2022), from the rows of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knife_jax.host.rows import Row
from knife_jax.report.load import Run

METRICS = ("win_rate", "return")
"""what is exported, and by what the best evaluation is chosen"""


def layout(runs: Sequence[Run]) -> dict[str, Any]:
    """``{env: {task: {method: {seed: {step: values, ..., "absolute_metrics": values}}}}}``.

    Each value is a list of one mean over the evaluation's episodes. ``absolute_metrics`` comes
    last, as marl-eval expects, and is the best evaluation of the task: the policy is not kept and
    played again. Only seeds that all runs have, since marl-eval wants equal numbers of them.
    """
    seeds = set.intersection(*(set(run.seeds) for run in runs))
    tasks: dict[str, Any] = {}
    for run in runs:
        courses: dict[tuple[int, int], list[Row]] = {}
        for row in run.of("eval"):
            if row["seed"] in seeds:
                courses.setdefault((row["task"], row["seed"]), []).append(row)
        for (task, seed), course in sorted(courses.items()):
            methods = tasks.setdefault(f"task_{task}", {})
            methods.setdefault(run.name, {})[f"seed_{seed}"] = _steps(course)
    return {runs[0].config["env"]["name"]: tasks}


def _steps(course: Sequence[Row]) -> dict[str, Any]:
    names = [name for name in METRICS if name in course[0]]
    steps: dict[str, Any] = {
        f"step_{i}": {
            "step_count": row["env_steps"],
            "elapsed_time": round(row["wall_time"] - course[0]["wall_time"], 3),
            **{name: [row[name]] for name in names},
        }
        for i, row in enumerate(course)
    }
    best = max(course, key=lambda row: [row[name] for name in names])
    return steps | {"absolute_metrics": {name: [best[name]] for name in names}}
