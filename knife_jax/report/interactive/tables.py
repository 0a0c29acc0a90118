"""Tables of the page: results, configurations side by side, and where runs are from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from knife_jax.records.compare import making_fields
from knife_jax.records.lines import ABSOLUTE, EVAL, FINAL
from knife_jax.records.reading import Status
from knife_jax.records.series import over_tasks
from knife_jax.report.interactive.marks import Style
from knife_jax.report.runs import Run
from knife_jax.report.stats import pooled
from knife_jax.report.table import cell
from knife_jax.sinks.format import brief, duration

UNKNOWN = "unknown"
"""the status of a run without a summary"""
DASH, WHOLE = "–", "{:,.0f}".format


def status(run: Run) -> str:
    """How far a run has come, in its own words."""
    return str(run.summary.get("status", UNKNOWN))


def named(run_name: str, styles: Mapping[str, Style]) -> str:
    """A method with its colour."""
    return (
        f'<span class="dot" style="background:{styles[run_name].colour}"></span>{escape(run_name)}'
    )


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table that scrolls inside its box; cells are HTML."""
    top = "".join(f'<th scope="col">{cell_}</th>' for cell_ in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{c}</td>" for c in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table class="{kind}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def results(runs: Sequence[Run], styles: Mapping[str, Style]) -> str:
    """A row for each run: how far it came, its evaluations with intervals over seeds, its cost."""
    columns: dict[str, Callable[[Run], str]] = {
        "status": _status,
        "seeds": lambda run: str(len(run.seeds)),
        "env steps": lambda run: f"{max((r['env_steps'] for r in run.records), default=0):,}",
    }
    for kind, label in ((FINAL, "final"), (ABSOLUTE, "best policy"), (EVAL, "newest evaluation")):
        for name in ("win_rate", "return"):
            title = f"{name.replace('_', ' ')}, {label}"
            columns[title] = lambda run, kind=kind, name=name: _evaluated(run, kind, name)
    columns |= {
        "wall time": lambda run: _known(run, "wall_seconds", duration),
        "env steps/s": lambda run: _known(run, "env_steps_per_second", WHOLE),
        "surgeries": lambda run: str(len({r["updates"] for r in run.of("surgery")})),
    }
    finished = all(run.of(FINAL) for run in runs)
    cells = {title: [of(run) for run in runs] for title, of in columns.items()}
    shown = {
        title: column
        for title, column in cells.items()
        if {*column} != {DASH} and not (finished and title.endswith("newest evaluation"))
    }
    rows = [
        [named(run.name, styles), *(column[i] for column in shown.values())]
        for i, run in enumerate(runs)
    ]
    return grid(["method", *shown], rows, "numbers")


def _status(run: Run) -> str:
    text = escape(status(run))
    return f'<span class="status {text}">{text}</span>'


def _known(run: Run, name: str, shown: Callable[[float], str]) -> str:
    """A number of the summary, if it has it."""
    value = run.summary.get(name)
    return shown(value) if isinstance(value, int | float) else DASH


def _evaluated(run: Run, kind: str, name: str) -> str:
    """The IQM over seeds of their newest record of a kind, with its interval."""
    newest = {r["seed"]: r.get(name) for r in over_tasks(run.of(kind))}
    values = np.array([value for value in newest.values() if value is not None])
    if not values.size:
        return DASH
    value, low, high = map(float, pooled(values[:, None]))
    return cell(value, (low, high)) if values.size > 1 else brief(value)


def configurations(runs: Sequence[Run], styles: Mapping[str, Style]) -> str:
    """Fields of the configurations side by side; what is not as in most runs is marked."""
    fields = [making_fields(run.config) for run in runs]
    names = list(dict.fromkeys(name for of_run in fields for name in of_run))
    rows = dict[str, list[str]]()
    for name in names:
        rows[escape(name)] = [_value(of_run, name) for of_run in fields]
    head = ["field", *(named(run.name, styles) for run in runs)]
    differing = {name: row for name, row in rows.items() if len({*row}) > 1}
    everything = grid(head, [[name, *_marked(row)] for name, row in rows.items()], "config")
    more = f"<details><summary>All {len(rows)} fields</summary>{everything}</details>"
    if len(runs) == 1:
        return more
    if not differing:
        return f"<p>All fields that decide results are equal.</p>{more}"
    return grid(head, [[name, *_marked(row)] for name, row in differing.items()], "config") + more


def _value(fields: Mapping[str, Any], name: str) -> str:
    """As a user types it; a dash if a run has no such field."""
    if name not in fields:
        return DASH
    value = fields[name]
    return escape(value if isinstance(value, str) else json.dumps(value))


def _marked(row: Sequence[str]) -> list[str]:
    usual, _ = Counter(row).most_common(1)[0]
    return [value if value == usual else f"<mark>{value}</mark>" for value in row]


def origins(
    runs: Sequence[Run],
    styles: Mapping[str, Style],
    command_of: Callable[[Mapping[str, Any]], str | None],
) -> str:
    """The command of each run, and what computed it."""
    lines = list[str]()
    for run in runs:
        words = command_of(run.config)
        text = (
            f"<pre>{escape(words)}</pre>"
            if words
            else "<p>No words of this version make its configuration; it is in the run's "
            "<code>config.yaml</code>.</p>"
        )
        lines.append(f"<dt>{named(run.name, styles)}</dt><dd>{text}</dd>")
    return f"<dl class='commands'>{''.join(lines)}</dl>{_versions(runs, styles)}"


def _versions(runs: Sequence[Run], styles: Mapping[str, Style]) -> str:
    """What computed the runs, in one column if it was the same, and what each of them took."""
    versions = [run.summary.get("versions") or {} for run in runs]
    names = list(dict.fromkeys(name for of_run in versions for name in of_run))
    rows = [[escape(name), *(_value(of_run, name) for of_run in versions)] for name in names]
    head = ["", *(named(run.name, styles) for run in runs)]
    alike = all({*row[1:]} == {row[1]} for row in rows) and len(runs) > 1
    made = [["", "all runs"], *(row[:2] for row in rows)] if alike else [head, *rows]
    took = [
        [label, *(_known(run, name, duration) for run in runs)]
        for label, name in (("training", "train_seconds"), ("compiling", "compile_seconds"))
    ]
    took.append(["ended by", *(escape(str(run.summary.get("error", DASH))) for run in runs)])
    took = [row for row in took if {*row[1:]} != {DASH}]
    return "".join(
        grid(top, [[row[0], *_marked(row[1:])] if top is head else row for row in body], "config")
        for top, *body in (made, [head, *took])
        if body
    )


def is_unfinished(run: Run) -> bool:
    """Whether a run has not come to its end."""
    return status(run) not in (Status.COMPLETE, UNKNOWN)
