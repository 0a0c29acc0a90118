"""A study at several levels of one field: the report of each level, and what changes with it.

The report of a level is in a folder of the study called as the words that set it, such as
``env.shared=0.4``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knife_jax.console import messages
from knife_jax.console.messages import say
from knife_jax.records import directory
from knife_jax.report.figure import as_png, looks
from knife_jax.report.runs import folders, is_run
from knife_jax.report.table import OUTCOMES, SHOWN, grid, measured
from knife_jax.report.write import NUMBERS, stored

TABLE, FIGURE = "levels.md", "levels.png"


class Level(NamedTuple):
    """The report of one level."""

    words: str
    """that set it: ``FIELD=VALUE``"""
    value: float
    report: Mapping[str, Any]


def folders_of_levels(study: Path) -> list[Path]:
    """The folders of a study's levels, lowest first; empty if it has none."""
    found = [path for path in study.glob("*=*") if path.is_dir() and not isnan(_value(path.name))]
    there = [
        path for path in found if (path / NUMBERS).is_file() or any(map(is_run, folders([path])))
    ]
    return sorted(there, key=lambda path: _value(path.name))


def _value(words: str) -> float:
    """The number that the words of a level set; NaN if it is none."""
    try:
        return float(words.partition("=")[2])
    except ValueError:
        return nan


def written(study: Path) -> bool:
    """Write the table and the figure of all levels that have a report into the study's folder, and
    print the table. Returns False, after one line that says why, if it cannot be done."""
    try:
        levels = list(_read(study))
        if len(levels) < 2:
            raise ValueError(f"{len(levels)} of the levels in {study} have one, at least 2 must")
        content = {TABLE: table(levels).encode(), FIGURE: draw(levels)}
        for name, of_file in content.items():
            directory.write(study / name, of_file)
    except ValueError as error:
        messages.error(f"no report of levels: {error}")
        return False
    except OSError as error:
        messages.error(f"{error.filename or study} cannot be written: {error.strerror or error}")
        return False
    say(f"{content[TABLE].decode()}\n{study}: {', '.join(content)}")
    return True


def _read(study: Path) -> Iterator[Level]:
    for folder in folders_of_levels(study):
        if (folder / NUMBERS).is_file():
            yield Level(folder.name, _value(folder.name), stored(folder))


def table(levels: Sequence[Level]) -> str:
    """As Markdown: the primary measure of each method, and each question's answer, by level."""
    primary = levels[0].report["primary"]
    heads = [level.words for level in levels]
    methods = dict.fromkeys(name for level in levels for name in level.report["methods"])
    rows = [["method", *heads]]
    for name in methods:
        cells = [level.report["methods"].get(name, {}).get(primary) for level in levels]
        rows.append([name, *map(measured, cells)])
    parts = [f"{SHOWN[primary]}, with 95 % intervals".capitalize() + ".", grid(rows, 1)]
    answers = [["question", *heads]]
    for asked in dict.fromkeys(a["asks"] for level in levels for a in level.report["answers"]):
        answers.append([asked, *(_answer(level, asked) for level in levels)])
    if len(answers) > 1:
        parts.append(grid(answers, 0))
    return "\n\n".join(parts) + "\n"


def _answer(level: Level, asked: str) -> str:
    for answer in level.report["answers"]:
        if answer["asks"] == asked and "outcome" in answer:
            return f"{OUTCOMES[answer['outcome']]}: {measured(answer['difference'])}"
    return "-"


def draw(levels: Sequence[Level]) -> bytes:
    """A PNG: the primary measure of each method against the level, and the differences that the
    study asks about, with 95 % intervals; the smallest effect that matters is shaded."""
    figure = Figure(figsize=(12, 5), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    field, primary = levels[0].words.partition("=")[0], levels[0].report["primary"]
    for name, look in zip(levels[0].report["methods"], looks(), strict=False):
        of_each = [level.report["methods"].get(name, {}).get(primary) for level in levels]
        _line(left, levels, of_each, look, name)
    pairs = dict.fromkeys((a["method"], a["against"]) for a in levels[0].report["answers"])
    for pair, look in zip(pairs, looks(), strict=False):
        _line(right, levels, [_difference(level, pair) for level in levels], look, " − ".join(pair))
    if protocol := levels[0].report["protocol"]:
        effect = protocol["smallest_effect"]
        right.axhspan(-effect, effect, color="#d7dbe0", lw=0, zorder=0)
    right.axhline(0, color="#555555", lw=0.8)
    left.set_ylabel(SHOWN[primary])
    right.set_ylabel("difference; shaded: too small to matter")
    for axes in (left, right):
        axes.set_xlabel(field)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    return as_png(figure)


def _difference(level: Level, pair: tuple[str, str]) -> Mapping[str, Any] | None:
    for found in level.report["differences"]:
        if (found["method"], found["against"]) == pair:
            return found.get("difference")
    return None


def _line(
    axes: Axes,
    levels: Sequence[Level],
    of_each: Sequence[Mapping[str, Any] | None],
    look: Mapping[str, Any],
    label: str,
) -> None:
    """A line over the levels that have the measure, with a band where it has an interval."""
    there = [(lv.value, m) for lv, m in zip(levels, of_each, strict=True) if m is not None]
    if there:
        places, values = zip(*((x, m["iqm"]) for x, m in there), strict=True)
        low, high = np.array([m["interval"] or [np.nan] * 2 for _, m in there]).T
        axes.fill_between(places, low, high, color=look["color"], alpha=0.12, lw=0)
        axes.plot(places, values, **look, lw=1.5, marker="o", ms=3, label=label)
