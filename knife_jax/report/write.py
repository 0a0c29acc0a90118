"""The report on a study: tables and answers, two pictures, and all that they are made of."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knife_jax.console import messages
from knife_jax.console.messages import say, warn
from knife_jax.records import directory
from knife_jax.report import figure, grid, marl_eval
from knife_jax.report.load import load
from knife_jax.report.measures import compare
from knife_jax.report.numbers import numbers
from knife_jax.report.protocol import ProtocolOf
from knife_jax.report.runs import Run, folders, is_run
from knife_jax.report.table import table

TABLE, NUMBERS = "report.md", "report.json"
FIGURE, FOREST, GRID = "report.png", "differences.png", "selections.png"


def write(
    paths: Sequence[Path],
    out: Path,
    command: str,
    protocol_of: ProtocolOf,
    export: Path | None = None,
) -> bool:
    """Write the report on some runs into ``out``, and print its tables.

    From a folder that has no runs but an earlier ``report.json`` the other files are made again.
    ``export`` gets the scores in marl-eval's layout. Returns False, after one line that says why,
    if there is nothing to report or it cannot be written.
    """
    found = folders(paths)
    try:
        if len(found) == 1 and not is_run(found[0]) and (found[0] / NUMBERS).is_file():
            runs, content = [], _again(found[0] / NUMBERS)
        else:
            runs, notes = _loaded(found)
            content = _content(numbers(runs, compare(runs), notes, command, protocol_of))
        for folder in (out, *([export.parent] if export else [])):
            folder.mkdir(parents=True, exist_ok=True)
        _write(content, out)
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


def _loaded(found: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs that can be compared, after a warning for each that is left out. Raises
    ``ValueError`` if there is none."""
    runs, notes = load(found)
    if not runs and len(notes) == 1:
        raise ValueError(notes[0])
    for note in notes:
        warn(note)
    if not runs:
        raise ValueError("there is no run that came to its end")
    return runs, notes


def _export(runs: Sequence[Run], path: Path) -> None:
    """Write the scores in marl-eval's layout. Raises ``ExportError`` if some are missing."""
    try:
        if not runs:
            raise ValueError(f"{NUMBERS} has no evaluations of single seeds")
        content = json.dumps(marl_eval.layout(runs), allow_nan=False)
    except ValueError as error:
        raise ExportError(str(error)) from None
    directory.write(path, (content + "\n").encode())
    say(f"scores for marl-eval: {path}")


def _content(report: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of a report."""
    content = {TABLE: table(report).encode(), FIGURE: figure.draw(report)}
    if figure.compared_pairs(report):
        content[FOREST] = figure.forest(report)
    if grid.cells(report):
        content[GRID] = grid.draw(report)
    return content | {NUMBERS: _lines(report).encode()}


def _write(content: Mapping[str, bytes], out: Path) -> None:
    for name in (FOREST, GRID):  # of an earlier report on more methods
        (out / name).unlink(missing_ok=True)
    for name, of_file in content.items():
        directory.write(out / name, of_file)
    say(f"{content[TABLE].decode()}\n{out}: {', '.join(content)}")


def _lines(report: Mapping[str, Any]) -> str:
    """As JSON, a list of numbers on one line."""
    text = json.dumps(report, indent=1, allow_nan=False)
    of_numbers = re.compile(r"\[\n[\s\d.,e+-]*\]")
    return of_numbers.sub(lambda found: "".join(found[0].split()), text) + "\n"


def stored(folder: Path) -> Mapping[str, Any]:
    """The numbers of the report in a folder. Raises ``ValueError``, which names the file, if they
    are no JSON."""
    path = folder / NUMBERS
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {messages.one_line(error)}") from None


def _again(path: Path) -> dict[str, bytes]:
    """The files of a report whose numbers are stored. Raises ``ValueError`` if they are damaged, or
    of another version."""
    try:
        return _content(json.loads(path.read_bytes()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        said = messages.one_line(error)
        raise ValueError(f"{path} is not what this version writes ({said})") from None
