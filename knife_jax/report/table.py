"""The table of a report, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
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


def table(report: Mapping[str, Any]) -> str:
    """The report as Markdown: what is measured, then a row for each method."""
    methods = report["methods"]
    rows = [["method", *SHOWN.values(), "largest churn", "units operated"]]
    for name, numbers in methods.items():
        cells = []
        for shown in SHOWN:
            of, *by_seed = shown.split(" by ")
            interval = "interval_by_seed" if by_seed else "interval"
            cells.append(_cell(numbers[of], interval) if of in numbers else "-")
        operated = [numbers.get("churn_max"), numbers.get("units_operated")]
        rows.append([f"`{name}`", *cells, *map(brief, operated)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    seeds = sorted({len(numbers["seeds"]) for numbers in methods.values()})
    about = (
        f"{report['env']['name']}, {' to '.join(map(str, seeds))} seeds, "
        f"{report['env_steps']:,} env steps each. Scores are {report['scale']}. IQM over seeds and "
        'tasks with 95 % stratified bootstrap intervals; "whole seeds" draws a seed with all of '
        f"its tasks. The gap is the score of `{FRESH}` less that of the method, seed by seed."
    )
    return (
        "\n".join([about, "", *lines, "", *(f"- {note}" for note in report["notes"])]).strip()
        + "\n"
    )


def _cell(numbers: Mapping[str, Any], interval: str) -> str:
    low, high = numbers[interval]
    return f"{brief(_rounded(numbers['iqm']))} ({brief(_rounded(low))} to {brief(_rounded(high))})"


def _rounded(value: float) -> float:
    """To four decimals: a gap of rounding errors is 0."""
    return round(value, 4) + 0.0
