"""The runs of a study, from their folders: those that can be compared, and why others cannot."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from knife_jax.records.compare import differences, result_fields
from knife_jax.records.lines import EVAL, EVALUATIONS
from knife_jax.records.reading import Status
from knife_jax.report import continual
from knife_jax.report.pool import methods
from knife_jax.report.runs import Run, read_all


def load(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The methods that can be compared, and a line for each run or seed that is left out."""
    read, notes = read_all(paths)
    compared, further = comparable(methods(read))
    return compared, notes + further


def comparable(read: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs whose final scores can be compared, and a line for each that is left out.

    What counts is what most of them agree in: how far they were evaluated, their configuration
    apart from the method, and their tasks. So a single one that differs is left out alone.
    """
    notes = list[str]()
    complete = [run for run in read if _has_ended(run)]
    ends = Counter(reached for run in complete or read if (reached := _reached(run)))
    goal = max(ends.items(), key=lambda end: (end[1], end[0]), default=(0, 0))[0]
    ended = [run for run in read if _has_ended(run) and _reached(run) == goal > 0]
    for run in read:
        if run not in ended:
            budget, status = goal, ""
            if not _has_ended(run):
                budget, status = run.config["env_steps"], f", status {run.summary['status']}"
            so_far = f"evaluated up to {_reached(run):,} of {budget:,} env steps{status}"
            notes.append(f"{run.name} is left out: {so_far}")
    return _alike(ended, notes), notes


def _alike(runs: Sequence[Run], notes: list[str]) -> list[Run]:
    """The runs that have what most of them have, without the seeds that were lost."""
    whole = [kept for run in runs if (kept := _whole(run, notes)) is not None]
    if not whole:
        return []
    settings = _usual(whole, lambda run: _shared(run.config))
    scored = _usual([run for run in whole if not _differing(run, settings)], _scored)
    tasks, out = _scored(scored), list[Run]()
    for run in whole:
        if differing := _differing(run, settings):
            notes.append(f"{run.name} is left out: {differing}")
        elif _scored(run) != tasks:
            notes.append(f"{run.name} is left out: other tasks or scores than {scored.name}")
        else:
            out.append(run)
    seeds = {run.name: run.seeds for run in runs}
    for run in out:
        lost = [seed for seed in seeds[run.name] if seed not in run.seeds]
        notes += [f"{run.name}: seed {seed} diverged and is left out" for seed in lost]
    return out


def _whole(run: Run, notes: list[str]) -> Run | None:
    """The run without the seeds that were lost; None if some score of it is missing."""
    reached = _reached(run)
    seeds = {record["seed"] for record in run.of(EVAL) if record["env_steps"] == reached}
    kept = [record for record in run.records if record["seed"] in seeds]
    run = run._replace(records=kept, seeds=sorted(seeds))
    try:
        for name in {"return", "win_rate"} & {*_scored(run)}:
            continual.at_task_end(continual.by_visit(continual.scores(run.records, name)))
    except ValueError as error:
        notes.append(f"{run.name} is left out: {error}")
        return None
    return run


def _scored(run: Run) -> tuple:
    """The tasks of a run and the names of its scores. Raises ValueError if some are missing."""
    evaluated = run.of(EVAL)
    names = [name for name in ("return", "win_rate", "regret") if name in evaluated[0]]
    for record in run.records:
        scored = record["kind"] in EVALUATIONS
        if scored and any(record.get(name) is None for name in names if name != "regret"):
            seed, steps = record["seed"], record["env_steps"]
            raise ValueError(f"no score of seed {seed} at {steps:,} env steps")
    return tuple(sorted({record["task"] for record in evaluated})), *names


def _usual(runs: Sequence[Run], what: Callable[[Run], Any]) -> Run:
    """The first run of the largest group that agrees in something."""
    keys = [json.dumps(what(run), sort_keys=True, default=str) for run in runs]
    return runs[keys.index(Counter(keys).most_common(1)[0][0])]


def _differing(run: Run, other: Run) -> str | None:
    """The first field in which the two cannot be compared."""
    found = differences(_shared(run.config), _shared(other.config))
    return found[0].replace("here", other.name) if found else None


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that all runs of a study agree in."""
    own = ("plasticity.", "seed", "num_seeds")
    return {
        name: value for name, value in result_fields(config).items() if not name.startswith(own)
    }


def _has_ended(run: Run) -> bool:
    """Whether a run has nothing left to do; without a summary only its records can show it."""
    return run.summary.get("status", Status.COMPLETE) == Status.COMPLETE


def _reached(run: Run) -> int:
    """The env steps of the newest evaluation of a run; 0 without one."""
    return max((record["env_steps"] for record in run.of(EVAL)), default=0)
