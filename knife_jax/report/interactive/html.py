"""The page as one file: text, tables and figures, with Plotly's script and nothing from outside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib import resources
from string import Template
from typing import Any, NamedTuple

from knife_jax.report.interactive.marks import Figure, Panel, Style


class Section(NamedTuple):
    """A part of the page that the table of contents names."""

    key: str
    title: str
    body: str


class Plots:
    """Figures as HTML; their data go to the end of the page, in the order of their places."""

    def __init__(self) -> None:
        self._panels: list[dict[str, Any]] = []

    def figure(self, figure: Figure) -> str:
        """Its title, what can be chosen, places for its plots, and its caption."""
        choice, size = "", "narrow" if figure.narrow else "wide"
        if len(figure.options) > 1:
            options = "".join(f"<option>{escape(label)}</option>" for label in figure.options)
            choice = f'<label class="choice">Show <select>{options}</select></label>'
        groups = list[str]()
        for i, (label, panels) in enumerate(figure.options.items()):
            hidden = " hidden" * (i > 0)
            title = f'<p class="option">{escape(label)}</p>' if choice else ""
            alone = " alone" * (len(panels) == 1)
            places = "".join(map(self._place, panels))
            groups.append(f'<div class="group"{hidden}>{title}<div class="panels {size}{alone}">'
                          f"{places}</div></div>")  # fmt: skip
        top = f'<div class="top"><h3>{escape(figure.title)}</h3>{choice}</div>'
        return (
            f"<figure>{top if figure.title else ''}{''.join(groups)}"
            f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
        )

    def _place(self, panel: Panel) -> str:
        self._panels.append({"data": panel.data, "layout": panel.layout})
        height = panel.layout.get("height", 0)
        style = f' style="height:{height}px"' if height else ""
        return (
            f'<div class="panel"><h4>{escape(panel.title)}</h4>'
            f'<div class="plot" data-plot="{len(self._panels) - 1}"{style}></div></div>'
        )

    def data(self) -> str:
        """All panels as JSON."""
        return embedded(self._panels)


def embedded(value: Any) -> str:
    """JSON that cannot end the element of the page in which it stands."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def legend(styles: Mapping[str, Style]) -> str:
    """A button for each method, which shows and hides it in all figures."""
    return "".join(
        f'<button type="button" class="method" aria-pressed="true" data-method="{escape(name)}">'
        f'<span class="dot" style="background:{style.colour}"></span>{escape(name)}</button>'
        for name, style in styles.items()
    )


def notes(title: str, lines: Sequence[str]) -> str:
    """What the reader must know before she compares."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<aside class="notes"><strong>{escape(title)}</strong><ul>{items}</ul></aside>'


def page(
    title: str,
    lede: str,
    sections: Sequence[Section],
    styles: Mapping[str, Style],
    plots: Plots,
    footer: str,
) -> str:
    """The whole file."""
    from plotly.offline import get_plotlyjs

    contents = "".join(f'<a href="#{s.key}">{escape(s.title)}</a>' for s in sections)
    body = "".join(
        f'<section id="{s.key}"><h2>{escape(s.title)}</h2>{s.body}</section>' for s in sections
    )
    return Template(_file("page.html")).substitute(
        title=escape(title), lede=escape(lede), contents=contents, body=body,
        legend=legend(styles), footer=escape(footer), plots=plots.data(), style=_file("style.css"),
        plotly=get_plotlyjs(), script=_file("script.js"),
    )  # fmt: skip


@cache
def _file(name: str) -> str:
    return (
        resources.files("knife_jax.report.interactive")
        .joinpath("page", name)
        .read_text(encoding="utf-8")
    )
