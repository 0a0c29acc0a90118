"""The runs of a study, from their folders: those that can be compared, and why others cannot."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from knife_jax.records.compare import differences, result_fields
from knife_jax.records.directory import files_of_run
from knife_jax.records.lines import EVAL, EVALUATIONS, Record, RecordError
from knife_jax.records.reading import Status, read_run
from knife_jax.report import continual


class Run(NamedTuple):
    """A complete run. ``name`` is that of its folder, the method."""

    name: str
    records: list[Record]
    """of the seeds that came to their end, too"""
    seeds: list[int]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    """of its cost and origin; empty if there is none"""
    folder: Path

    def of(self, kind: str) -> list[Record]:
        """The records of one kind."""
        return [record for record in self.records if record["kind"] == kind]


def folders(paths: Sequence[Path]) -> list[Path]:
    """The run directories among the paths and, if a path is none, inside it; each once."""
    out: dict[str, Path] = {}
    for path in paths:
        inside = [] if is_run(path) else sorted(filter(is_run, path.glob("*")))
        for folder in inside or [path]:
            out.setdefault(os.path.realpath(folder), folder)
    return list(out.values())


def is_run(path: Path) -> bool:
    """Whether there is anything of a run, be it damaged, or a link that leads nowhere."""
    return bool(files_of_run(path)) or (path.is_symlink() and not path.exists())


def load(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs that can be compared, and a line for each run or seed that is left out."""
    read, notes = read_all(paths)
    compared, further = comparable(read)
    return compared, notes + further


def read_all(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """All runs that can be read, be they at their end or not, and a line for each that cannot,
    or of which some records were dropped."""
    read, notes = list[Run](), list[str]()
    for path in paths:
        name = Path(os.path.abspath(path)).name
        try:
            records, dropped, config, summary = read_run(path)
        except RecordError as error:
            notes.append(f"{name} is left out: {error}")
            continue
        notes += [f"{name}: {note}" for note in dropped]
        if name in (run.name for run in read):
            notes.append(f"{path} is left out: another run is called {name}, too")
        else:
            seeds = sorted({record["seed"] for record in records})
            read.append(Run(name, records, seeds, config, summary, path))
    return read, notes


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
    out = list[Run]()
    for run in whole:
        if differing := _differing(run, settings):
            notes.append(f"{run.name} is left out: {differing}")
        elif _scored(run) != _scored(scored):
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
    evaluated = run.of(EVAL)
    seeds = {record["seed"] for record in evaluated if record["env_steps"] == _reached(run)}
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
