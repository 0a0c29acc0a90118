"""What figures are made of: panels of Plotly's traces as plain dictionaries, a colour per method.

Each trace says in ``meta`` to which method it belongs and which role it has (``line``, ``band``,
``seed``, ``surgery``), so that the page can hide a method or a role in all figures at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from knife_jax.report.differences import PLAIN
from knife_jax.report.stats import Estimate, over_seeds, thinned

COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#7A7A1F",
)  # fmt: skip
"""of Okabe & Ito, without its yellow, and two of Tol: told apart by colour-blind readers"""
PLAIN_COLOUR = "#555555"
"""of the method that only trains, if there are others"""
DASHES = ("solid", "dash", "dot", "dashdot")
"""for further methods, when the colours come again"""

POINTS, FEWER_POINTS, MANY = 250, 120, 12
"""moments that a curve shows at most, and with more than ``MANY`` runs"""

Trace = dict[str, Any]


class Style(NamedTuple):
    """How a method looks in every figure."""

    colour: str
    dash: str


class Panel(NamedTuple):
    """One plot: its title, Plotly's traces, and what its layout has beside that of all plots."""

    title: str
    data: list[Trace]
    layout: Mapping[str, Any] = {}


class Figure(NamedTuple):
    """Panels side by side under one caption; with several options the reader chooses one.

    The only figure of a section needs no title.
    """

    title: str
    caption: str
    options: Mapping[str, Sequence[Panel]]
    narrow: bool = False
    """whether panels are small multiples"""


def styles(names: Sequence[str]) -> dict[str, Style]:
    """A look for each method."""
    out, i = dict[str, Style](), 0
    for name in names:
        if name == PLAIN and len(names) > 1:
            out[name] = Style(PLAIN_COLOUR, DASHES[0])
        else:
            out[name] = Style(COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)])
            i += 1
    return out


def numbers(values: Shaped[np.ndarray, "P"]) -> list[float | int | None]:
    """As JSON, in six digits; None for what is not finite."""
    if np.issubdtype(values.dtype, np.integer):
        return values.tolist()
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def line(name: str, style: Style, x: np.ndarray, y: np.ndarray, role: str = "line") -> Trace:
    """A line, with a marker on every value if there are few."""
    few = len(x) <= 30 and role == "line"
    thin = role == "seed"
    return {
        "type": "scatter",
        "name": name,
        "mode": "lines+markers" if few else "lines",
        "x": numbers(x),
        "y": numbers(y),
        "line": {"color": style.colour, "dash": style.dash, "width": 0.9 if thin else 2},
        "opacity": 0.45 if thin else 1,
        "marker": {"color": style.colour, "size": 5},
        "hovertemplate": f"%{{y:.4g}}<extra>{name}</extra>",
        "meta": {"method": name, "role": role},
        **({"hoverinfo": "skip", "hovertemplate": None} if thin else {}),
    }


def band(name: str, style: Style, x: np.ndarray, estimate: Estimate) -> Trace:
    """The interval of a curve."""
    low, high = np.asarray(estimate.low), np.asarray(estimate.high)
    known = np.isfinite(low) & np.isfinite(high)
    x, low, high = x[known], low[known], high[known]
    return {
        "type": "scatter",
        "name": name,
        "mode": "lines",
        "x": numbers(np.concatenate([x, x[::-1]])),
        "y": numbers(np.concatenate([low, high[::-1]])),
        "fill": "toself",
        "fillcolor": style.colour,
        "opacity": 0.16,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "meta": {"method": name, "role": "band"},
    }


def curve(
    name: str,
    style: Style,
    steps: Shaped[np.ndarray, "P"],
    values: Float[np.ndarray, "S P"],
    most: int,
) -> list[Trace]:
    """A method over env steps: the IQM over seeds, its interval, and a thin line for each seed."""
    if not steps.size:
        return []
    shown = thinned(len(steps), most)
    steps, values = steps[shown], values[:, shown]
    estimate = over_seeds(values)
    traces = [line(name, style, steps, np.asarray(estimate.value))]
    if len(values) > 1:
        seeds = [line(name, style, steps, of_seed, "seed") for of_seed in values]
        traces = [band(name, style, steps, estimate), *seeds, *traces]
    return traces


def interval(
    name: str,
    style: Style,
    estimate: Estimate,
    label: str | None = None,
    further: Sequence[float] = (),
) -> list[Trace]:
    """A number on a row of its own: a bar for the interval, a tick for the value, and a thin line
    between the ends ``further`` of a second interval, if there is one."""
    meta = {"method": name, "role": "interval"}
    row = label or name
    low, value, high = (float(v) for v in (estimate.low, estimate.value, estimate.high))
    hover = f"{value:.4g} ({low:.4g} to {high:.4g})<extra>{row}</extra>"
    common: Trace = {"type": "scatter", "name": name, "meta": meta, "hovertemplate": hover}
    bar = {"color": style.colour, "width": 12}
    tick = {
        "symbol": "line-ns", "size": 14, "color": style.colour,
        "line": {"width": 2.5, "color": style.colour},
    }  # fmt: skip
    ends, thin = numbers(np.array([low, high])), {"color": style.colour, "width": 1}
    beyond = {**common, "mode": "lines", "x": list(further), "y": [row, row], "line": thin}
    return [
        *([beyond] if further else []),
        {**common, "mode": "lines", "x": ends, "y": [row, row], "line": bar, "opacity": 0.3},
        {**common, "mode": "markers", "x": numbers(np.array([value])), "y": [row], "marker": tick},
    ]
