"""The learning curve of a run as one picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from knife_jax.records.lines import Record
from knife_jax.records.series import series

EVALUATION, TRAINING = "#1f5fa8", "0.6"
STAGNANT, DORMANT, GRAFTED = "#c0392b", "#d98e04", "#2e7d4f"


def draw(records: Sequence[Record], title: str) -> bytes:
    """A PNG: return, win rate if there is one, and the state of the neurons, over env steps.

    Lines are means over seeds, bands go from the lowest to the highest seed.
    """
    names = {name for record in records if record["kind"] in ("train", "eval") for name in record}
    performance = [("return", "return per episode")]
    if "win_rate" in names:
        performance.append(("win_rate", "win rate"))
    n_panels = len(performance) + 1
    figure = Figure(figsize=(7, 0.9 + 2.2 * n_panels), dpi=150, layout="constrained")
    *tops, bottom = figure.subplots(n_panels, sharex=True)
    tops[0].set_title(title, loc="left", fontsize=11, pad=20)
    for axes, (name, label) in zip(tops, performance, strict=True):
        _performance(axes, records, name, label)
    if "win_rate" in names:
        tops[1].set_ylim(-0.03, 1.03)
    _legend(tops[0], tops[0].get_legend_handles_labels())
    _neurons(bottom, records)
    bottom.set_xlabel("environment steps per seed")
    bottom.set_xlim(left=0)
    bottom.xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.align_ylabels()
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _mean(values: np.ndarray) -> np.ndarray:
    return np.ma.masked_invalid(values).mean(axis=0).filled(np.nan)


def _performance(axes: Axes, records: Sequence[Record], name: str, label: str) -> None:
    steps, values = series(records, "train", name)
    if steps.size:
        axes.plot(steps, _mean(values), color=TRAINING, lw=1, label="training, exploring")
    steps, values = series(records, "eval", name)
    if steps.size:
        over_seeds = " (mean and range of seeds)" if len(values) > 1 else ""
        _band(axes, steps, values, EVALUATION, f"greedy evaluation{over_seeds}")
        axes.plot(steps, values.T, color=EVALUATION, lw=0.5, alpha=0.4)
    axes.set_ylabel(label)
    _plain(axes)


def _band(
    axes: Axes, steps: np.ndarray, values: np.ndarray, color: str, label: str, jumps: bool = False
) -> None:
    """The mean over seeds and their range."""
    known = np.ma.masked_invalid(values)
    low, high = known.min(axis=0), known.max(axis=0)
    filled, drawn = ("post", "steps-post") if jumps else (None, "default")
    marker = "o" if steps.size == 1 else None
    axes.fill_between(steps, low, high, color=color, alpha=0.15, lw=0, step=filled)
    axes.plot(
        steps, _mean(values), color=color, lw=1.8, marker=marker, drawstyle=drawn, label=label
    )


def _neurons(axes: Axes, records: Sequence[Record]) -> None:
    for name, label, color in (
        ("stagnant_pct", "stagnant", STAGNANT),
        ("dormant_pct", "dormant", DORMANT),
    ):
        steps, values = series(records, "train", name)
        if steps.size:
            _band(axes, steps, values, color, label)
    axes.set_ylabel("neurons (%)")
    axes.set_ylim(bottom=0)
    _plain(axes)
    handles, labels = axes.get_legend_handles_labels()
    surgeries, _ = series(records, "surgery", "units_operated")
    if surgeries.size:
        ticks = axes.vlines(
            surgeries, 0, 0.06, transform=axes.get_xaxis_transform(), color="0.2", lw=0.8
        )
        handles, labels = [*handles, ticks], [*labels, "surgery"]
    steps, values = series(records, "train", "grafted_units")
    if surgeries.size:
        units = axes.twinx()
        _band(units, steps, values, GRAFTED, "grafted (right)", jumps=True)
        units.set_ylabel("units with a graft")
        units.set_ylim(bottom=0)
        units.yaxis.set_major_locator(MaxNLocator(integer=True))
        units.spines[["top", "left"]].set_visible(False)
        more, names = units.get_legend_handles_labels()
        handles, labels = handles + more, labels + names
    _legend(axes, (handles, labels))


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92", lw=0.8)
    axes.set_axisbelow(True)


def _legend(axes: Axes, entries: tuple[list, list]) -> None:
    if entries[0]:
        axes.legend(
            *entries, frameon=False, fontsize=8, ncols=4, loc="lower right",
            bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, handlelength=1.4,
        )  # fmt: skip
