"""The report as a page: what is gathered, in which order it stands, and the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from html import escape
from pathlib import Path
from typing import Any

import knife_jax
from knife_jax.config.plain import flat, from_dict, to_dict
from knife_jax.config.schema import ConfigError
from knife_jax.console import messages
from knife_jax.console.messages import listed, say, warn
from knife_jax.console.scrub import scrub
from knife_jax.records import directory
from knife_jax.report.interactive import learning, scores
from knife_jax.report.interactive.html import Plots, Section, notes, page
from knife_jax.report.interactive.marks import FEWER_POINTS, MANY, POINTS, Style, styles
from knife_jax.report.interactive.recordings import recordings
from knife_jax.report.interactive.tables import (
    configurations,
    grid,
    is_unfinished,
    named,
    origins,
    results,
    status,
)
from knife_jax.report.load import comparable
from knife_jax.report.measures import compare
from knife_jax.report.numbers import numbers
from knife_jax.report.pool import merged, pooled
from knife_jax.report.protocol import ProtocolOf
from knife_jax.report.runs import Run, folders, read_all
from knife_jax.report.stats import DRAWS
from knife_jax.report.table import (
    about,
    about_kept,
    about_pairs,
    answered,
    kept,
    pairs,
    rows,
    rules,
)

CommandOf = Callable[[Mapping[str, Any]], str | None]
"""the words that make a configuration again; None if there are none"""


def write(
    paths: Sequence[Path],
    out: Path,
    command: str,
    command_of: CommandOf,
    protocol_of: ProtocolOf,
) -> bool:
    """Write the page about some runs.

    A run that cannot be read is named, in one line and on the page, and left out. Returns False,
    after one line that says why, if there is no run left or the page cannot be written.
    """
    runs, broken = read_all(folders(paths))
    broken += [f"{run.name} is left out: it has no records yet" for run in runs if not run.records]
    runs = [run for run in runs if run.records]
    if not runs:
        reason = broken[0] if len(broken) == 1 else "there is no run with records"
        for line in broken if len(broken) > 1 else []:
            warn(line)
        messages.error(f"no report: {reason}")
        return False
    for line in broken:
        warn(line)
    content = html(runs, broken, out, command, command_of, protocol_of)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        directory.write(out, content.encode())
    except OSError as error:
        messages.error(f"{out} cannot be written: {error.strerror or error}")
        return False
    say(f"{out}: {_counted(len(runs), 'run')}, {len(content) / 1e6:.1f} MB")
    return True


def html(
    runs: Sequence[Run],
    broken: Sequence[str],
    out: Path,
    command: str,
    command_of: CommandOf,
    protocol_of: ProtocolOf,
) -> str:
    """The page about runs, be they at their end or not."""
    together, plots = pooled(runs), Plots()
    compared = [merged(name, of_method) for name, of_method in together.items()]
    look = styles([*together])
    of_run = {run.name: look[name] for name, of_method in together.items() for run in of_method}
    figures = learning.figures(compared, look)
    sections = [Section("results", "Results", _results(runs, broken, of_run))]
    titles = {"learning": "Learning", "neurons": "Neurons", "surgery": "Surgery"}
    drawn = [
        Section(key, titles[key], "".join(map(plots.figure, of_key)))
        for key, of_key in figures.items()
        if of_key
    ]
    sections += drawn[:1]
    scored = _scores(compared, look, plots, command, protocol_of)
    sections += [Section("scores", "Final scores", scored)]
    sections += drawn[1:]
    if recorded := recordings(runs, of_run, out.parent):
        sections.append(Section("recordings", "Recordings", recorded))
    sections += [
        Section("configuration", "Configuration", _configuration(runs, of_run)),
        Section("origin", "How to repeat it", origins(runs, of_run, command_of)),
    ]
    made = f"Made {date.today().isoformat()} by knife_jax {knife_jax.__version__}"
    footer = f"{made}: {scrub(command)}"
    return page(_title(compared), _lede(compared, len(runs)), sections, look, plots, footer)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _title(runs: Sequence[Run]) -> str:
    games = dict.fromkeys(
        " ".join(filter(None, (run.config["env"]["name"], run.config["env"].get("scenario"))))
        for run in runs
    )
    compared = listed([run.name for run in runs], 4) if len(runs) < 5 else f"{len(runs)} methods"
    if len(runs) == 1:
        compared = runs[0].config.get("algo", {}).get("name", compared)
    return f"{compared} on {listed(list(games), 3)}"


def _span(numbers: Sequence[int]) -> str:
    return " to ".join(dict.fromkeys(f"{end(numbers):,}" for end in (min, max)))


def _lede(runs: Sequence[Run], n_runs: int) -> str:
    counts = [len(run.seeds) for run in runs]
    steps = [max(record["env_steps"] for record in run.records) for run in runs if run.records]
    seeds = f"{_span(counts)} seed{'s' * (max(counts) != 1)}"
    what = f"{len(runs)} methods, {seeds} each" if len(runs) > 1 else f"{runs[0].name}, {seeds}"
    what += f" in {n_runs} runs" * (n_runs > len(runs))
    text = f"{what}, {_span(steps)} environment steps per seed."
    if open_ := [f"{run.name} ({status(run)})" for run in runs if is_unfinished(run)]:
        text += f" Not at {'its' if len(open_) == 1 else 'their'} end: {listed(open_)}."
    return text


def _results(runs: Sequence[Run], broken: Sequence[str], look: Mapping[str, Style]) -> str:
    said = (
        f"Interquartile mean over seeds with its 95 % bootstrap interval ({DRAWS:,} draws of "
        "seeds). "
        "Final: greedy evaluation of the last policy, on fresh episodes; best policy: the one that "
        "evaluated best in training, on ten times as many (absolute metric)."
    )
    out = notes("Left out, or not read in full", broken) if broken else ""
    odd = dict[str, list[str]]()
    for run in runs:
        if line := _other_version(run):
            odd.setdefault(line, []).append(run.name)
    lines = [f"{listed(names)} ({line}" for line, names in odd.items()]
    out += notes("Made by another version", lines) if lines else ""
    return f"{out}{results(runs, look)}<p class='about'>{said}</p>" + _curves_said(runs)


def _curves_said(runs: Sequence[Run]) -> str:
    most = POINTS if len(runs) <= MANY else FEWER_POINTS
    said = (
        "Curves are interquartile means over seeds, bands their 95 % bootstrap intervals, thin "
        f"lines single seeds; a curve shows at most {most} of its moments, evenly spaced. Click a "
        "method in the bar at the top to hide it in all figures, drag in a figure to zoom, "
        "double-click to zoom out."
    )
    return f"<p class='about'>{said}</p>"


def _scores(
    runs: Sequence[Run],
    look: Mapping[str, Style],
    plots: Plots,
    command: str,
    protocol_of: ProtocolOf,
) -> str:
    """What ``report.study`` says of these runs, and aggregate metrics of the same scores."""
    compared, left_out = comparable(runs)
    out = notes("Not among the final scores", left_out) if left_out else ""
    try:
        scale = compare(compared) if compared else None
    except ValueError as error:
        return out + notes("No scores", [str(error)])
    if scale is None:
        return out or "<p>No run has been evaluated to its end.</p>"
    report = numbers(compared, scale, left_out, command, protocol_of)
    out += _table(rows(report), about(report), look)
    if cells := kept(report):
        out += _table(cells, about_kept(report), look)
    if report["differences"]:
        out += _table(pairs(report), about_pairs(report), look)
    if report["protocol"]:
        said = [f"{question} {answer}" for question, answer in answered(report)]
        out += f"<p class='about'>{escape(rules(report))}</p>{notes('Questions', said)}"
    drawn = scores.differences(report, look) + scores.figures(scale, look)
    return out + "".join(map(plots.figure, drawn))


def _table(rows: Sequence[Sequence[str]], said: str, look: Mapping[str, Style]) -> str:
    """A table without the columns that are empty, and what it shows."""
    head, *body = zip(*(c for c in zip(*rows, strict=True) if {*c[1:]} != {"-"}), strict=True)
    cells = [[named(name, look), *map(escape, rest)] for name, *rest in body]
    text = escape(said.replace("`", ""))
    return f"{grid(head, cells, 'numbers')}<p class='about'>{text}</p>"


def _configuration(runs: Sequence[Run], look: Mapping[str, Style]) -> str:
    if len(runs) == 1:
        return configurations(runs, look)
    said = "Fields in which runs differ; what is not as in most of them is marked."
    return f"<p class='about'>{said}</p>{configurations(runs, look)}"


def _other_version(run: Run) -> str | None:
    """The version that made a run, and what its configuration has and this version has not, or
    the reverse; None if there is nothing to say."""
    made_by = (run.summary.get("versions") or {}).get("knife_jax", "unknown")
    about = f"knife_jax {made_by})"
    try:
        here = flat(to_dict(from_dict(run.config)))
    except ConfigError as error:
        return f"{about}: {error}"
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        return f"{about}: {messages.one_line(error)}"
    if lacking := [name for name in here if name not in flat(run.config)]:
        return f"{about}: no {listed(lacking)}"
    return about if made_by not in (knife_jax.__version__, "unknown") else None
