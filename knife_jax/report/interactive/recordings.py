"""Recordings of runs on the page: a few embedded, the others linked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from urllib.parse import quote

from knife_jax.records.directory import RECORDING
from knife_jax.report.interactive.html import embedded
from knife_jax.report.interactive.marks import Style
from knife_jax.report.interactive.tables import named
from knife_jax.report.runs import Run

MOST, MOST_BYTES = 4, 2_500_000
"""recordings that are embedded, and how large each may be"""


def recordings(runs: Sequence[Run], styles: Mapping[str, Style], beside: Path) -> str:
    """Players, loaded when they are scrolled to; empty if no run has a recording."""
    out, n_embedded = list[str](), 0
    for run in runs:
        path = run.folders[0] / RECORDING
        content = _content(path) if n_embedded < MOST else None
        if content is not None:
            n_embedded += 1
            body = (
                f'<iframe sandbox="allow-scripts" title="recording of {escape(run.name)}"></iframe>'
                f'<script type="application/json">{embedded(content)}</script>'
                '<p class="elsewhere">Can be played in the interactive page.</p>'
            )
        elif path.is_file():
            link = quote(os.path.relpath(path, beside))
            body = f'<p><a href="{link}">{escape(RECORDING)}</a> in its run directory</p>'
        else:
            continue
        out.append(f'<div class="recording"><h3>{named(run.name, styles)}</h3>{body}</div>')
    return "".join(out)


def _content(path: Path) -> str | None:
    """The recording, if there is one that can be embedded."""
    with suppress(OSError, UnicodeDecodeError):
        if path.stat().st_size <= MOST_BYTES:
            return path.read_text(encoding="utf-8")
    return None
