"""The picture of a study."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from knife_jax.records.series import series
from knife_jax.report import continual
from knife_jax.report.measures import Compared
from knife_jax.report.runs import Run
from knife_jax.report.stats import course

POINTS = 20
"""tasks beyond so many are taken together in groups"""


def draw(runs: Sequence[Run], compared: Compared) -> bytes:
    """A PNG: scores at task ends, IQM over seeds and neighbouring tasks with 95 % intervals;
    dormant and stagnant neurons over training, means over seeds."""
    figure = Figure(figsize=(12, 5), dpi=150, layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(3, 2))
    left = figure.add_subplot(grid[:, 0])
    rights = [figure.add_subplot(grid[i, 1]) for i in range(2)]
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for i, run in enumerate(runs):
        colour = colours[i % len(colours)]
        places, estimate = course(continual.at_task_end(compared.courses[run.name]), POINTS)
        left.fill_between(places + 1, estimate.low, estimate.high, color=colour, alpha=0.12, lw=0)
        left.plot(
            places + 1, estimate.value, color=colour, lw=1.5, marker="o", ms=3, label=run.name
        )
        for axes, name in zip(rights, ("dormant_pct", "stagnant_pct"), strict=True):
            steps, values = series(run.records, "train", name)
            if steps.size:
                axes.plot(steps, np.nanmean(values, axis=0), color=colour, lw=1.2)
    left.set(xlabel="task", ylabel=f"greedy {compared.metric.replace('_', ' ')} at task end")
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
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
