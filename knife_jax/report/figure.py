"""The pictures of a study, from the numbers of its ``report.json``."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from knife_jax.report.stats import course
from knife_jax.report.table import SHOWN

POINTS = 20
"""tasks beyond so many are taken together in groups"""


def draw(report: Mapping[str, Any]) -> bytes:
    """A PNG: scores at task ends, IQM over seeds and neighbouring tasks with 95 % intervals;
    dormant and stagnant neurons over training, means over seeds."""
    figure = Figure(figsize=(12, 5), dpi=120, layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(3, 2))
    left = figure.add_subplot(grid[:, 0])
    rights = [figure.add_subplot(grid[i, 1]) for i in range(2)]
    for (name, courses), look in zip(report["courses"].items(), looks(), strict=False):
        places, estimate = course(np.array(courses["task_end_by_seed"]), POINTS)
        band = {"color": look["color"], "alpha": 0.12, "lw": 0}
        left.fill_between(places + 1, estimate.low, estimate.high, **band)
        left.plot(places + 1, estimate.value, **look, lw=1.5, marker="o", ms=3, label=name)
        for axes, kind in zip(rights, ("dormant_pct", "stagnant_pct"), strict=True):
            if kind in courses:
                axes.plot(courses[kind]["env_steps"], courses[kind]["mean"], **look, lw=1.2)
    left.set(xlabel="task", ylabel=f"greedy {report['metric'].replace('_', ' ')} at task end")
    left.set_title("IQM over seeds and neighbouring tasks, 95 % bootstrap intervals", fontsize=10)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes, label in zip(rights, ("dormant", "stagnant"), strict=True):
        axes.set_ylabel(f"{label} neurons (%)")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    rights[1].set_xlabel("environment steps per seed")
    for axes in (left, *rights):
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return as_png(figure)


def compared_pairs(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The pairs of methods that have seeds in common."""
    return [pair for pair in report["differences"] if pair["seeds"]]


def forest(report: Mapping[str, Any]) -> bytes:
    """A PNG: the differences of all pairs of methods, a row each, with their 95 % intervals and
    those of a further drawing; the smallest effect that matters is shaded."""
    shown = compared_pairs(report)
    figure = Figure(figsize=(9, 1.6 + 0.34 * len(shown)), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    unit = "drawing" if report["own_drawings"] else "seed"
    if report["protocol"]:
        effect = report["protocol"]["smallest_effect"]
        said = f"within ±{effect}: too small to matter"
        axes.axvspan(-effect, effect, color="#d7dbe0", lw=0, zorder=0, label=said)
    axes.axvline(0, color="#555555", lw=0.8, zorder=1)
    for row, pair in enumerate(shown):
        _row(axes, row, pair["difference"], unit if row == 0 else None)
    axes.set_yticks(range(len(shown)), [f"{pair['method']} − {pair['against']}" for pair in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(f"difference of the {SHOWN[report['primary']]}, on a scale from 0 to 1")
    axes.set_title("← the first method is worse          the first method is better →", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return as_png(figure)


def _row(axes: Axes, row: int, difference: Mapping[str, Any], unit: str | None) -> None:
    """A pair of methods; the first row has the labels of the legend."""
    of_all, further = difference["interval"], difference["further"]
    labels = ["difference", "its 95 % interval", f"95 % of further {unit}s"] if unit else [None] * 3
    axes.plot(difference["iqm"], row, "o", color="#0072B2", ms=5, zorder=4, label=labels[0])
    if of_all is not None:
        axes.plot(of_all, [row] * 2, color="#0072B2", lw=3, zorder=3, label=labels[1])
        axes.plot(further, [row] * 2, color="#0072B2", lw=0.8, zorder=2, label=labels[2])


def looks() -> list[dict[str, Any]]:
    """How methods are told apart: by colour, and when the colours come again by dashes."""
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    return [{"color": colour, "ls": dashes} for dashes in ("-", "--", ":") for colour in colours]


def as_png(figure: Figure) -> bytes:
    """The bytes of a PNG file."""
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
