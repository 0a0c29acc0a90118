"""Figures over training: scores, loss, neurons, layers and surgeries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from knife_jax.records.lines import EVAL, Record
from knife_jax.records.series import over_tasks, series
from knife_jax.report.interactive.marks import (
    FEWER_POINTS,
    MANY,
    POINTS,
    Figure,
    Panel,
    Style,
    Trace,
    curve,
    numbers,
)
from knife_jax.report.runs import Run
from knife_jax.report.stats import thinned

SCORES = (
    (EVAL, "win_rate", "Win rate, greedy evaluation"),
    (EVAL, "return", "Return, greedy evaluation"),
    ("train", "win_rate", "Win rate in training, exploring"),
    ("train", "return", "Return in training, exploring"),
    ("train", "loss", "Loss"),
)
NEURONS = (
    ("train", "stagnant_pct", "Stagnant neurons (%)"),
    ("train", "dormant_pct", "Dormant neurons (%)"),
    ("train", "grafted_units", "Units with a graft"),
)
FROM_ZERO = (
    "win_rate", "stagnant_pct", "dormant_pct", "grafted_units", "revival_pct", "slots_used_mean",
)  # fmt: skip
"""quantities whose axis begins at 0"""
WITH_SURGERIES = (*((EVAL, name) for name in ("win_rate", "return")), *(q[:2] for q in NEURONS[:2]))
"""quantities under which surgeries are marked"""
OF_LAYERS = {
    "stagnant_pct": "Stagnant neurons (%)",
    "dormant_pct": "Dormant neurons (%)",
    "effective_rank": "Effective rank",
    "srank": "Rank (99 % of singular values)",
    "revival_pct": "Revived (%)",
    "slots_used_mean": "Graft slots used",
    "ua_mean": "Update activity",
    "weight_norm": "Weight norm",
}
"""metric of a probe -> what the reader chooses"""
OF_NETWORKS = {
    "hessian_max": "Largest eigenvalue of the Hessian",
    "agent/grad_effective_rank": "Rank of gradients, agent",
    "mixer/grad_effective_rank": "Rank of gradients, mixer",
    "agent/grad_cosine": "Cosine of gradients, agent",
    "mixer/grad_cosine": "Cosine of gradients, mixer",
    "agent/plasticity": "Plasticity, agent",
    "mixer/plasticity": "Plasticity, mixer",
}
CURVATURE = "Curvature and gradients"
REVIVED = "revival"
"""made of all layers' ``revival_pct``"""
MOST_SWITCHES = 120
SMALL = {"yaxis": {"exponentformat": "e", "rangemode": "tozero"}}


class Shown(NamedTuple):
    """Runs as the figures show them."""

    runs: Sequence[Run]
    styles: Mapping[str, Style]

    @property
    def points(self) -> int:
        """Moments of a curve at most."""
        return POINTS if len(self.runs) <= MANY else FEWER_POINTS

    def panel(self, kind: str, name: str, title: str, **layout: object) -> Panel | None:
        """One quantity of all runs over env steps; None if no run has it."""
        data = list[Trace]()
        for run in self.runs:
            records = over_tasks(run.of(kind)) if kind == EVAL else run.of(kind)
            steps, values = series(records, kind, name)
            data += curve(run.name, self.styles[run.name], steps, values, self.points)
        return Panel(title, data, layout) if data else None


def figures(runs: Sequence[Run], styles: Mapping[str, Style]) -> dict[str, list[Figure]]:
    """Section -> its figures, without those for which no run has records."""
    shown, switches = Shown(runs, styles), task_switches(runs)
    by_task = " Dotted lines are task switches; evaluations are the mean over all tasks."
    by_task *= bool(switches)
    learning = _drawn(shown, SCORES, switches)
    neurons = _drawn(shown, NEURONS, switches)
    operated = [panel for panel in _surgeries(shown) if panel is not None]
    out: dict[str, list[Figure]] = {"learning": [], "neurons": [], "surgery": []}
    if learning:
        about = "What each method scored over training." + by_task
        out["learning"] = [Figure("", about, {"": learning})]
    if neurons:
        about = (
            "Share of the hidden neurons that can be operated on whose gradient is negligible "
            "beside their weights (stagnant) or whose activity is (dormant)." + by_task
        )
        out["neurons"].append(Figure("Neurons of all layers", about, {"": neurons}))
    if layers := _layers(shown, switches):
        about = (
            "Measured between chunks on replayed windows, layer by layer; a layer without this "
            "metric has no panel."
        )
        out["neurons"].append(Figure("Layer by layer", about, layers, narrow=True))
    if operated:
        about = (
            "When each method operated and on how many units (mean over seeds), the largest change "
            "of any action value by a surgery (churn, the worst seed; 0 means that the function "
            "was kept), and the share of the neurons operated on that are no longer stagnant "
            "(revival, mean over layers)." + by_task
        )
        marked = [_marked(panel, switches) for panel in operated]
        out["surgery"] = [Figure("", about, {"": marked})]
    return out


def task_switches(runs: Sequence[Run]) -> list[int]:
    """Env steps at which another task began, in any run."""
    found = set[int]()
    for run in runs:
        first: dict[int, int] = {}
        for record in run.of("train"):
            first[record["task"]] = min(
                first.get(record["task"], record["env_steps"]), record["env_steps"]
            )
        began = sorted(first.values())
        ends = sorted({record["env_steps"] for record in run.of("train")})
        found |= {ends[ends.index(at) - 1] for at in began[1:]}
    return sorted(found)


def _drawn(
    shown: Shown, quantities: Sequence[tuple[str, str, str]], switches: Sequence[int]
) -> list[Panel]:
    """Panels of what some run has, with task switches and, at the foot, surgeries."""
    out = list[Panel]()
    for kind, name, title in quantities:
        panel = shown.panel(kind, name, title, yaxis=_scale(name))
        if panel is not None:
            below = _rug(shown) if (kind, name) in WITH_SURGERIES else []
            out.append(_marked(panel._replace(data=panel.data + below), switches))
    return out


def _scale(name: str) -> dict[str, str]:
    """How the axis of a quantity, or of a layer's metric, is drawn."""
    if name == "loss":
        return {"type": "log"}
    return {"rangemode": "tozero"} if name.rpartition("/")[2] in FROM_ZERO else {}


def _marked(panel: Panel, switches: Sequence[int]) -> Panel:
    """With a dotted line at every task switch, if they are not too many to be told apart."""
    if not 0 < len(switches) <= MOST_SWITCHES:
        return panel
    line = {"color": "#b8bcc4", "width": 0.8, "dash": "dot"}
    shapes = [
        {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": at, "x1": at,
         "layer": "below", "line": line}
        for at in switches
    ]  # fmt: skip
    return panel._replace(layout={**panel.layout, "shapes": shapes})


def _rug(shown: Shown) -> list[Trace]:
    """A tick for each surgery on a strip of its own under a figure, a row for each method."""
    out = list[Trace]()
    for i, run in enumerate(shown.runs if len(shown.runs) <= MANY else []):
        steps, units = series(run.of("surgery"), "surgery", "units_operated")
        if not steps.size:
            continue
        at = thinned(len(steps), shown.points)
        colour = shown.styles[run.name].colour
        mark = {"symbol": "line-ns", "size": 6, "line": {"width": 1.3, "color": colour}}
        out.append({
            "type": "scatter", "mode": "markers", "name": run.name, "yaxis": "y2",
            "x": numbers(steps[at]), "y": [-i] * len(at), "marker": mark,
            "customdata": numbers(np.nanmean(units, axis=0)[at]),
            "hovertemplate": f"surgery on %{{customdata:.4g}} units<extra>{run.name}</extra>",
            "meta": {"method": run.name, "role": "surgery"},
        })  # fmt: skip
    return out


def _surgeries(shown: Shown) -> list[Panel | None]:
    churn = list[Trace]()
    for run in shown.runs:
        steps, values = series(run.of("surgery"), "surgery", "churn_max")
        if steps.size:
            worst = np.nanmax(values, axis=0)[None]
            churn += curve(run.name, shown.styles[run.name], steps, worst, shown.points)
    revived = [run._replace(records=[_revived(r) for r in run.of("probe")]) for run in shown.runs]
    return [
        shown.panel("surgery", "units_operated", "Units operated on per surgery"),
        Panel("Largest change of a value (churn)", churn, SMALL) if churn else None,
        shown._replace(runs=revived).panel("probe", REVIVED, "Revived neurons (%)"),
    ]


def _revived(record: Record) -> Record:
    found = [v for name, v in record.items() if name.endswith("/revival_pct") and v is not None]
    return record | {REVIVED: float(np.mean(found)) if found else None}


def _layers(shown: Shown, switches: Sequence[int]) -> dict[str, list[Panel]]:
    """What the reader chooses -> a panel for each layer that has it."""
    names = {name: None for run in shown.runs for r in run.of("probe") for name in r}
    out: dict[str, list[Panel]] = {}
    for metric, label in OF_LAYERS.items():
        layers = [name.removesuffix(f"/{metric}") for name in names if name.endswith(f"/{metric}")]
        wanted = [(f"{layer}/{metric}", layer) for layer in layers if "/" in layer]
        out[label] = _probed(shown, wanted, switches)
    out[CURVATURE] = _probed(shown, [*OF_NETWORKS.items()], switches)
    return {label: panels for label, panels in out.items() if panels}


def _probed(
    shown: Shown, wanted: Sequence[tuple[str, str]], switches: Sequence[int]
) -> list[Panel]:
    panels = (shown.panel("probe", name, title, yaxis=_scale(name)) for name, title in wanted)
    return [_marked(panel, switches) for panel in panels if panel is not None]
