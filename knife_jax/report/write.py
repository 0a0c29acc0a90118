"""The report on a study: ``report.md``, ``report.png`` and ``report.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from knife_jax.console import messages
from knife_jax.console.messages import say, warn
from knife_jax.records import directory
from knife_jax.report import figure, marl_eval
from knife_jax.report.load import load
from knife_jax.report.measures import compare
from knife_jax.report.numbers import numbers
from knife_jax.report.runs import Run, folders
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
    report = numbers(runs, compared, notes, command)
    text = table(report)
    directory.write(out / TABLE, text.encode())
    directory.write(out / FIGURE, figure.draw(runs, compared))
    directory.write_json(out / NUMBERS, report)
    say(f"{text}\n{out}: {TABLE}, {FIGURE}, {NUMBERS}")
