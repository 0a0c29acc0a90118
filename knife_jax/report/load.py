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
    """A run that came to its end. ``name`` is that of its folder, the method."""

    name: str
    rows: list[Record]
    """of the seeds that came to their end, too"""
    seeds: list[int]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    """of its cost and origin; empty where there is none"""

    def of(self, kind: str) -> list[Record]:
        """The rows of one kind."""
        return [row for row in self.rows if row["kind"] == kind]


def folders(paths: Sequence[Path]) -> list[Path]:
    """The run directories among the paths and, where a path is none, in it; each once."""
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
    """The runs that can be compared, and a line for each run or seed that is left out.

    What most of them share counts: how far they were evaluated, their configuration apart from the
    method, and their tasks. So a single one that differs leaves out itself alone.
    """
    read, notes = list[Run](), list[str]()
    for path in paths:
        name = Path(os.path.abspath(path)).name
        try:
            rows, dropped, config, summary = read_run(path)
        except RecordError as error:
            notes.append(f"{name} is left out: {error}")
            continue
        notes += [f"{name}: {note}" for note in dropped]
        if name in (run.name for run in read):
            notes.append(f"{path} is left out: another run is called {name}, too")
        else:
            seeds = sorted({row["seed"] for row in rows})
            read.append(Run(name, rows, seeds, config, summary))
    told = [run for run in read if _has_ended(run)]
    ends = Counter(reached for run in told or read if (reached := _reached(run)))
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
    seeds = {row["seed"] for row in evaluated if row["env_steps"] == _reached(run)}
    kept = [row for row in run.rows if row["seed"] in seeds]
    run = run._replace(rows=kept, seeds=sorted(seeds))
    try:
        for name in {"return", "win_rate"} & {*_scored(run)}:
            continual.at_task_end(continual.by_visit(continual.scores(run.rows, name)))
    except ValueError as error:
        notes.append(f"{run.name} is left out: {error}")
        return None
    return run


def _scored(run: Run) -> tuple:
    """The tasks of a run and the names of its scores. Raises ValueError if some are missing."""
    evaluated = run.of(EVAL)
    names = [name for name in ("return", "win_rate", "regret") if name in evaluated[0]]
    for row in run.rows:
        scored = row["kind"] in EVALUATIONS
        if scored and any(row.get(name) is None for name in names if name != "regret"):
            raise ValueError(f"no score of seed {row['seed']} at {row['env_steps']:,} env steps")
    return tuple(sorted({row["task"] for row in evaluated})), *names


def _usual(runs: Sequence[Run], what: Callable[[Run], Any]) -> Run:
    """The first run of the largest group that agrees in something."""
    keys = [json.dumps(what(run), sort_keys=True, default=str) for run in runs]
    return runs[keys.index(Counter(keys).most_common(1)[0][0])]


def _differing(run: Run, other: Run) -> str | None:
    """The first field in which the two cannot be compared."""
    found = differences(_shared(run.config), _shared(other.config))
    return found[0].replace("here", other.name) if found else None


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """What all runs of a study have the same."""
    own = ("plasticity.", "seed", "num_seeds")
    return {
        name: value for name, value in result_fields(config).items() if not name.startswith(own)
    }


def _has_ended(run: Run) -> bool:
    """Whether a run has nothing left to do; without a summary its rows have to tell."""
    return run.summary.get("status", Status.COMPLETE) == Status.COMPLETE


def _reached(run: Run) -> int:
    """How far a run was evaluated."""
    return max((row["env_steps"] for row in run.of(EVAL)), default=0)
