"""The report on a study: ``report.md``, ``report.png`` and ``report.json``."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from knife_jax.console import messages
from knife_jax.console.messages import say, warn
from knife_jax.console.scrub import scrub
from knife_jax.records import directory
from knife_jax.report import figure, marl_eval
from knife_jax.report.load import Run, folders, load
from knife_jax.report.measures import FRESH, Compared, Values, compare, measure, surgery
from knife_jax.report.table import table

TABLE, FIGURE, NUMBERS = "report.md", "report.png", "report.json"


def write(paths: Sequence[Path], out: Path, command: str, export: Path | None = None) -> bool:
    """Write the report on some runs into ``out``, and print its table.

    ``export`` gets the scores in marl-eval's layout. Returns False, after one line that says why,
    if there is nothing to report or it cannot be written.
    """
    runs, notes = load(folders(paths))
    try:
        if not runs and len(notes) == 1:
            raise ValueError(notes[0])
        for note in notes:
            warn(note)
        if not runs:
            raise ValueError("there is no run that came to its end")
        for folder in (out, *([export.parent] if export else [])):
            folder.mkdir(parents=True, exist_ok=True)
        _write(runs, notes, out, command)
        if export is not None:
            _export(runs, export)
    except ExportError as error:
        messages.error(f"{export} is not written: {error}")
        return False
    except ValueError as error:
        stale = f"; {out / TABLE} is that of an earlier report" * (out / TABLE).exists()
        messages.error(f"no report: {error}{stale}")
        return False
    except OSError as error:
        messages.error(f"{error.filename or out} cannot be written: {error.strerror or error}")
        return False
    return True


class ExportError(Exception):
    """The scores cannot be exported. The message is one line."""


def _export(runs: Sequence[Run], path: Path) -> None:
    """Write the scores in marl-eval's layout. Raises ``ExportError`` if some are missing."""
    try:
        content = json.dumps(marl_eval.layout(runs), allow_nan=False)
    except ValueError as error:
        raise ExportError(str(error)) from None
    directory.write(path, (content + "\n").encode())
    say(f"scores for marl-eval: {path}")


def _write(runs: Sequence[Run], notes: list[str], out: Path, command: str) -> None:
    compared = compare(runs)
    fresh = compared.courses.get(FRESH)
    if fresh is None:
        notes.append(f"no plasticity gap: {FRESH} is not among the runs")
    measured = {
        run.name: measure(run, compared.courses[run.name], None if run.name == FRESH else fresh)
        for run in runs
    }
    report = _report(runs, compared, measured, notes, command)
    text = table(report)
    directory.write(out / TABLE, text.encode())
    directory.write(out / FIGURE, figure.draw(runs, compared))
    directory.write_json(out / NUMBERS, report)
    say(f"{text}\n{out}: {TABLE}, {FIGURE}, {NUMBERS}")


def _report(
    runs: Sequence[Run],
    compared: Compared,
    measured: Mapping[str, Mapping[str, Values]],
    notes: Sequence[str],
    command: str,
) -> dict[str, Any]:
    return {
        "command": scrub(command),
        "date": date.today().isoformat(),
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
        "versions": next(
            (run.summary["versions"] for run in runs if "versions" in run.summary), None
        ),
        "env": runs[0].config["env"],
        "env_steps": max(record["env_steps"] for record in runs[0].records),
        "scale": compared.scale,
        "notes": list(notes),
        "methods": {
            run.name: {
                "seeds": run.seeds,
                "wall_seconds": run.summary.get("wall_seconds"),
                **{name: _numbers(v) for name, v in measured[run.name].items()},
                **surgery(run),
            }
            for run in runs
        },
    }


def _numbers(values: Values) -> dict[str, Any]:
    """A measure as JSON: intervals of the stratified bootstrap and of that by whole seeds."""
    value, *interval = map(float, values.estimate())
    _, *by_seed = map(float, values.estimate(whole_seeds=True))
    return {"iqm": value, "interval": interval, "interval_by_seed": by_seed}
