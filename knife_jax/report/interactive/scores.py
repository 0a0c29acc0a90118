"""Figures of final scores: differences of methods, aggregate metrics, performance profiles, tasks
one by one."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from typing import Any

import numpy as np

from knife_jax.report import continual
from knife_jax.report.aggregate import METRICS, aggregates, profile
from knife_jax.report.differences import PLAIN
from knife_jax.report.figure import POINTS, compared_pairs
from knife_jax.report.interactive.marks import (
    Figure,
    Panel,
    Style,
    Trace,
    band,
    interval,
    line,
)
from knife_jax.report.measures import Compared
from knife_jax.report.stats import DRAWS, Estimate, course, probability
from knife_jax.report.table import SHOWN

LEVELS = np.linspace(0, 1, 51)
"""at which performance profiles are drawn"""


def figures(compared: Compared, styles: Mapping[str, Style]) -> list[Figure]:
    """Of the runs that can be compared, in the order of rliable; none of a single number."""
    ends = {name: continual.at_task_end(p) for name, p in compared.courses.items()}
    if sum(scores.size for scores in ends.values()) == 1:
        return []
    about = (
        f"Scores are {compared.scale}; a run is one seed on one task, at the end of the task's "
        "training. Ticks are estimates over all runs of a method, bars "
    )
    bars = f"their 95 % intervals ({DRAWS:,} bootstrap draws of seeds, each with all of its tasks)."
    out = [
        Figure(
            "Aggregate metrics",
            f"{about}{bars} IQM is the mean of the middle half of all runs, median that of the "
            "tasks' means, optimality gap the distance to a score of 1 (lower is better).",
            {"": _aggregates(ends, styles)},
        ),
        Figure(
            "Performance profiles",
            "The fraction of runs that score above each level; the higher a curve, the better. "
            "Bands are 95 % bootstrap intervals.",
            {"": [_profiles(ends, styles)]},
        ),
    ]
    if len(ends) > 1:
        against = PLAIN if PLAIN in ends else next(iter(ends))
        rows = list[Trace]()
        for name in reversed([name for name in ends if name != against]):
            pair = continual.shared(compared.courses[name], compared.courses[against])
            if pair[0].seeds.size:
                estimate = probability(*map(continual.at_task_end, pair))
                rows += interval(name, styles[name], estimate)
        layout = {**_rows(len(ends) - 1), "shapes": [_upright(0.5)]}
        layout["xaxis"] = {"range": [-0.02, 1.02], "title": {"text": "probability"}}
        out.append(
            Figure(
                f"Probability of improvement over {against}",
                f"How likely each method scores higher than {against} on the same task of the same "
                "seed, ties counting half. A bar that does not reach 0.5 tells the two apart.",
                {"": [Panel(f"P(method > {against})", rows, layout)]},
            )
        )
    if next(iter(ends.values())).shape[1] > 1:
        out.append(
            Figure(
                "Score at the end of each task",
                "IQM over seeds, and over neighbouring tasks if there are more than "
                f"{POINTS}, with 95 % bootstrap intervals: a curve that falls is loss of "
                "plasticity, if the tasks are alike.",
                {"": [_tasks(ends, styles, compared.metric)]},
            )
        )
    return out


def differences(report: Mapping[str, Any], styles: Mapping[str, Style]) -> list[Figure]:
    """The pairs of methods of a study's report (``report.numbers``) that have seeds in common."""
    shown = compared_pairs(report)
    if not shown:
        return []
    rows = list[Trace]()
    for pair in reversed(shown):
        found, method = pair["difference"], pair["method"]
        estimate = Estimate(found["iqm"], *(found["interval"] or (nan, nan)))
        label = f"{method} − {pair['against']}"
        rows += interval(method, styles[method], estimate, label, found["further"] or ())
    shapes, unit = [_upright(0)], "drawing" if report["own_drawings"] else "seed"
    caption = (
        "The differences of the table above, a row each: right of 0 the first method is better. "
        f"Bars are 95 % intervals, thin lines those of one further {unit}."
    )
    if report["protocol"]:
        effect = report["protocol"]["smallest_effect"]
        shapes.insert(0, _span(-effect, effect))
        caption += f" Shaded is what is too small to matter, within ±{effect}."
    title = f"{SHOWN[report['primary']].capitalize()}: the first method less the second"
    layout = {**_rows(len(shown)), "shapes": shapes, "xaxis": {"title": {"text": "difference"}}}
    return [Figure("Differences", caption, {"": [Panel(title, rows, layout)]})]


def _aggregates(ends: Mapping[str, np.ndarray], styles: Mapping[str, Style]) -> list[Panel]:
    found = {name: aggregates(scores) for name, scores in ends.items()}
    out = list[Panel]()
    for metric in METRICS:
        rows = list[Trace]()
        for name in reversed(found):
            rows += interval(name, styles[name], found[name][metric])
        out.append(Panel(metric, rows, _rows(len(ends))))
    return out


def _profiles(ends: Mapping[str, np.ndarray], styles: Mapping[str, Style]) -> Panel:
    data = list[Trace]()
    for name, scores in ends.items():
        estimate = profile(scores, LEVELS)
        drawn = line(name, styles[name], LEVELS, np.asarray(estimate.value))
        drawn["line"] = {**drawn["line"], "shape": "hv"}
        data += [band(name, styles[name], LEVELS, estimate), drawn]
    layout = {"xaxis": {"title": {"text": "score τ"}}, "yaxis": {"range": [-0.02, 1.02]}}
    return Panel("Fraction of runs with a score above τ", data, layout)


def _tasks(ends: Mapping[str, np.ndarray], styles: Mapping[str, Style], metric: str) -> Panel:
    data = list[Trace]()
    for name, scores in ends.items():
        places, estimate = course(scores, POINTS)
        drawn = line(name, styles[name], places + 1, np.asarray(estimate.value))
        data += [band(name, styles[name], places + 1, estimate), drawn]
    label = f"Greedy {metric.replace('_', ' ')} at task end, scaled"
    n_tasks = next(iter(ends.values())).shape[1]
    whole = {"dtick": 1} if n_tasks <= POINTS else {}
    return Panel(label, data, {"xaxis": {"title": {"text": "task"}, **whole}})


def _rows(n: int) -> dict:
    """The layout of a plot with a row for each method."""
    return {"height": 70 + 26 * n, "yaxis": {"automargin": True, "showgrid": False}, "xaxis": {}}


def _span(low: float, high: float) -> dict:
    about = {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    return {**about, "x0": low, "x1": high, "fillcolor": "#e3e6ea", "line": {"width": 0}}


def _upright(x: float) -> dict:
    rule = {"color": "#8a8f98", "width": 1, "dash": "dash"}
    return {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": x, "x1": x, "line": rule}
