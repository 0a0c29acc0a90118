"""The runs of a study, from their folders: those that can be compared, and why others cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from knife_jax.host.resume import decisive, differences
from knife_jax.host.rows import Row, read_rows
from knife_jax.host.run import CONFIG, METRICS, SUMMARY


class Run(NamedTuple):
    """A run that came to its end. ``name`` is that of its folder, the method."""

    name: str
    rows: list[Row]
    """of the seeds that came to their end, too"""
    seeds: list[int]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    """of its cost and origin; empty where there is none"""

    def of(self, kind: str) -> list[Row]:
        """The rows of one kind."""
        return [row for row in self.rows if row["kind"] == kind]


def folders(paths: Sequence[Path]) -> list[Path]:
    """The run directories among the paths and, where a path is none, in it."""
    out: list[Path] = []
    for path in paths:
        inside = [file.parent for file in sorted(path.glob(f"*/{METRICS}"))]
        out += [path] if (path / METRICS).exists() or not inside else inside
    return out


def load(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs that can be compared, and a line for each run or seed that is left out."""
    runs, notes = [], []
    for path in paths:
        try:
            runs.append(_read(path))
        except (OSError, ValueError, KeyError) as error:
            missing = isinstance(error, FileNotFoundError)
            reason = f"there is no {METRICS}" if missing else f"cannot be read ({error})"
            notes.append(f"{path.name} is left out: {reason}")
    goal = max((_steps(run.rows) for run in runs), default=0)
    out: list[Run] = []
    for run in runs:
        reached = _steps(run.rows)
        if reached == 0 or reached < goal:
            notes.append(f"{run.name} is left out: judged up to {reached:,} of {goal:,} env steps")
        elif out and (differing := differences(*(_shared(r.config) for r in (run, out[0])))):
            notes.append(f"{run.name} is left out: {differing[0].replace('here', out[0].name)}")
        else:
            seeds = {row["seed"] for row in run.of("eval") if row["env_steps"] == goal}
            lost = sorted(set(run.seeds) - seeds)
            notes += [f"{run.name}: seed {seed} diverged and is left out" for seed in lost]
            kept = [row for row in run.rows if row["seed"] in seeds]
            out.append(run._replace(rows=kept, seeds=sorted(seeds)))
    return out, notes


def _read(path: Path) -> Run:
    rows = read_rows(path / METRICS)
    config = OmegaConf.to_container(OmegaConf.load(path / CONFIG))
    assert isinstance(config, dict)
    summary = json.loads((path / SUMMARY).read_text()) if (path / SUMMARY).exists() else {}
    seeds = sorted({row["seed"] for row in rows})
    return Run(path.resolve().name, rows, seeds, config, summary)


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """What all runs of a study have the same."""
    own = ("plasticity.", "seed", "num_seeds")
    return {name: value for name, value in decisive(config).items() if not name.startswith(own)}


def _steps(rows: Sequence[Row]) -> int:
    """How far a run was judged."""
    return max((row["env_steps"] for row in rows if row["kind"] == "eval"), default=0)
