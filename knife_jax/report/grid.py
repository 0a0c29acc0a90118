"""Which neurons are operated on against what becomes of them: KNIFE and its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from knife_jax.report.differences import PLAIN
from knife_jax.report.figure import as_png
from knife_jax.report.measures import FRESH
from knife_jax.report.runs import Run
from knife_jax.report.table import SHOWN, cell

SELECTIONS = {
    "stagnant": "stagnant: small gradients\nfor their weights",
    "gradient": "smallest gradients",
    "dormant": "lowest activation",
    "active": "highest activation",
    "random": "drawn at random",
}
REWRITES = {
    "graft": "grafted: kept frozen,\nno value changes",
    "recycle": "recycled: forgotten,\nas by ReDo",
}


def choices(runs: Sequence[Run]) -> dict[str, list[str]]:
    """KNIFE and its controls: method -> [selection, rewrite]."""
    sections = {run.name: run.config["plasticity"] for run in runs}
    return {
        name: [section["select"], section["rewrite"]]
        for name, section in sections.items()
        if {"select", "rewrite"} <= {*section} and section["out_mode"] == "shared"
    }


def cells(report: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """(selection, rewrite) -> the primary measure; empty unless there are two of each."""
    of_each = {
        (select, rewrite): report["methods"][name][report["primary"]]
        for name, (select, rewrite) in report["choices"].items()
    }
    selections, rewrites = ({place[i] for place in of_each} for i in range(2))
    return of_each if len(selections) > 1 and len(rewrites) > 1 else {}


def draw(report: Mapping[str, Any]) -> bytes:
    """A PNG: a cell for each selection and rewrite, with IQM and 95 % interval."""
    of_each = cells(report)
    rows = [name for name in SELECTIONS if any(name == select for select, _ in of_each)]
    columns = [name for name in REWRITES if any(name == rewrite for _, rewrite in of_each)]
    values = np.full((len(rows), len(columns)), np.nan)
    figure = Figure(figsize=(7.5, 1.9 + 0.75 * len(rows)), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for (select, rewrite), measured in of_each.items():
        at = rows.index(select), columns.index(rewrite)
        values[at] = measured["iqm"]
    low, high = np.nanmin(values), np.nanmax(values)
    span = max(high - low, 1e-9)
    axes.imshow((values - low) / span, cmap="Blues", vmin=-0.3, vmax=1.6, aspect="auto")
    for (select, rewrite), measured in of_each.items():
        at = columns.index(rewrite), rows.index(select)
        axes.text(*at, cell(measured["iqm"], measured["interval"]), ha="center", va="center")
    axes.set_xticks(range(len(columns)), [REWRITES[name] for name in columns])
    axes.set_yticks(range(len(rows)), [SELECTIONS[name] for name in rows])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    title = f"{SHOWN[report['primary']]}, if as many neurons are taken as are stagnant at the time"
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(_references(report), fontsize=9)
    return as_png(figure)


def _references(report: Mapping[str, Any]) -> str:
    said = {PLAIN: "no surgery", FRESH: "a fresh network for each task"}
    out = []
    for name in said:
        if name in report["methods"]:
            measured = report["methods"][name][report["primary"]]
            out.append(f"{said[name]}: {cell(measured['iqm'], measured['interval'])}")
    return ";  ".join(out)
