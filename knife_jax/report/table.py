"""The table of a report: its cells, and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knife_jax.report.measures import FRESH
from knife_jax.sinks.format import brief

SHOWN = {
    "score": "score at task end",
    "late_score": "score, last quarter",
    "area": "area",
    "late_gap": "gap, last quarter",
    "late_gap by seed": "same, whole seeds",
    "gap_slope": "gap per task",
    "forgetting": "forgetting",
    "recovery_steps": "recovery, env steps",
    "final_stagnant_pct": "stagnant %",
    "final_dormant_pct": "dormant %",
}
"""measure -> its column; further ones are in ``report.json`` alone"""
SURGERY = {"churn_max": "largest churn", "units_operated": "units operated"}
"""the same for what has no interval"""
COLUMNS = SHOWN | SURGERY


def rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The cells of the table: its head, then a row for each method."""
    out = [["method", *COLUMNS.values()]]
    for name, numbers in report["methods"].items():
        cells = []
        for shown in SHOWN:
            of, *by_seed = shown.split(" by ")
            interval = "interval_by_seed" if by_seed else "interval"
            cells.append(cell(numbers[of]["iqm"], numbers[of][interval]) if of in numbers else "-")
        operated = [numbers.get(name) for name in SURGERY]
        out.append([name, *cells, *map(brief, operated)])
    return out


def about(report: Mapping[str, Any]) -> str:
    """What the table measures, and how."""
    counts = sorted({len(numbers["seeds"]) for numbers in report["methods"].values()})
    seeds = f"{' to '.join(map(str, counts))} seed{'s' * (counts != [1])}"
    return (
        f"{report['env']['name']}, {seeds}, "
        f"{report['env_steps']:,} env steps each. Scores are {report['scale']}. IQM over seeds and "
        'tasks with 95 % stratified bootstrap intervals; "whole seeds" draws a seed with all of '
        f"its tasks. The gap is the score of `{FRESH}` less that of the method, seed by seed."
    )


def table(report: Mapping[str, Any]) -> str:
    """The report as Markdown: what is measured, then a row for each method."""
    head, *body = rows(report)
    cells = [head, *([f"`{row[0]}`", *row[1:]] for row in body)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    lines.insert(1, "|---" * len(head) + "|")
    notes = [f"- {note}" for note in report["notes"]]
    return "\n".join([about(report), "", *lines, "", *notes]).strip() + "\n"


def cell(value: float, interval: Sequence[float]) -> str:
    """A number and its interval: ``0.5 (0.2 to 0.8)``."""
    low, high = interval
    return f"{brief(_rounded(value))} ({brief(_rounded(low))} to {brief(_rounded(high))})"


def _rounded(value: float) -> float:
    """To four decimals: a gap of rounding errors is 0."""
    return round(value, 4) + 0.0
