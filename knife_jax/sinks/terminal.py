"""What the user watches: a live table in a terminal, one plain line per event elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from knife_jax.console.messages import say
from knife_jax.records.lines import Record
from knife_jax.sinks.format import SHOWN, Plan, brief, eta, span, speed, spread
from knife_jax.sinks.notebook import Cell, in_notebook

SHOWN_KINDS = ("train", "eval")


class PlainLines:
    """A line per event, in plain ASCII: for files, pipes and simple terminals."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def write(self, records: Sequence[Record]) -> None:
        for kind in SHOWN_KINDS:
            of_kind = [record for record in records if record["kind"] == kind]
            if of_kind:
                say(self._line(kind, of_kind))

    def close(self) -> None:
        pass

    def _line(self, kind: str, records: Sequence[Record]) -> str:
        plan, first = self._plan, records[0]
        parts = [f"{first['env_steps']:,}/{plan.env_steps:,} env steps"]
        if kind == "train":
            parts += [f"eta {eta(plan, first)}", speed(plan, first)]
        for shown in SHOWN:
            if shown.kind == kind and (s := spread(records, shown)):
                worst = "" if s.worst is None else f", worst seed {s.worst}"
                over_seeds = f" [{span(s)}{worst}]" if span(s) else ""
                parts.append(f"{shown.label} {brief(s.mean)}{over_seeds}")
        return " | ".join(parts)


@runtime_checkable
class Screen(Protocol):
    """Where a picture is redrawn in place: ``rich.live.Live``, or a notebook's cell."""

    def update(self, renderable: Group, *, refresh: bool = False) -> None:
        """Show a picture in the place of the one before."""
        ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


class LiveTable:
    """A table of the newest numbers, redrawn in place."""

    def __init__(self, plan: Plan, screen: Screen) -> None:
        self._plan = plan
        self._newest: dict[str, list[Record]] = {kind: [] for kind in SHOWN_KINDS}
        self._live = screen
        self._live.start()

    def write(self, records: Sequence[Record]) -> None:
        for kind in SHOWN_KINDS:
            self._newest[kind] = [r for r in records if r["kind"] == kind] or self._newest[kind]
        if self._newest["train"]:
            self._live.update(self._picture(), refresh=True)

    def close(self) -> None:
        self._live.stop()

    def _picture(self) -> Group:
        plan, train = self._plan, self._newest["train"][0]
        done = train["env_steps"]
        progress = Table.grid(padding=(0, 2))
        progress.add_row(
            ProgressBar(plan.env_steps, done, width=30),
            f"{min(1.0, done / plan.env_steps):.0%}",
            f"{done:,} / {plan.env_steps:,} env steps",
            f"ETA {eta(plan, train)}",
        )
        together = f"{plan.n_seeds} seeds together, " if plan.n_seeds > 1 else ""
        note = f"{speed(plan, train)} ({together}training alone, compilation not counted)"
        return Group(
            Text(plan.title, style="bold"), progress, Text(note, style="dim"), self._values()
        )

    def _values(self) -> Table:
        many = self._plan.n_seeds > 1
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("")
        table.add_column("mean" if many else "now", justify="right", style="bold")
        if many:
            table.add_column("min to max", justify="right")
            table.add_column("worst seed", justify="right")
        for shown in SHOWN:
            s = spread(self._newest[shown.kind], shown)
            if s is None:
                continue
            worst = "" if s.worst is None else str(s.worst)
            over_seeds = [span(s), worst] if many else []
            table.add_row(shown.label, brief(s.mean), *over_seeds)
        return table


def open_table(plan: Plan) -> LiveTable | PlainLines:
    """The table that suits stdout."""
    if in_notebook():
        return LiveTable(plan, Cell())
    return LiveTable(plan, terminal(Console())) if is_terminal() else PlainLines(plan)


def terminal(console: Console) -> Live:
    """A terminal to draw in."""
    return Live(console=console, auto_refresh=False)


@runtime_checkable
class HasCompileCached(Protocol):
    """What is known of a run: whether its program was found in the cache."""

    compile_cached: bool | None


@contextmanager
def compiling(name: str, run: HasCompileCached) -> Iterator[Callable[[], None]]:
    """Tell the user that the wait is for the compiler, and afterwards how long it was.

    The block calls the function that it is given when the program is traced, and is to be compiled.
    ``run.compile_cached`` is then whether it was found in the cache; None for no program.
    """
    started = time.perf_counter()

    def elapsed() -> str:
        return f"{time.perf_counter() - started:.1f} s"

    what = "compiling training and evaluation"
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    if is_terminal():
        with Progress(*columns, transient=True) as progress:
            task = progress.add_task(f"{name}: tracing", total=None)
            yield lambda: progress.update(task, description=f"{name}: {what}")
    else:
        say(f"{name}: compiling")
        yield lambda: say(f"traced in {elapsed()}, {what}")
    waited = {True: "found compiled, ready in", False: "compiled in", None: "ready in"}
    say(f"{waited[run.compile_cached]} {elapsed()}")


def is_terminal() -> bool:
    """Whether stdout is a terminal that can redraw and has box characters."""
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    return sys.stdout.isatty() and unicode and not Console().is_dumb_terminal
