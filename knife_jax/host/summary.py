"""The end of a run: one JSON object, and a small table of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from knife_jax.console.messages import say
from knife_jax.host.progress import Progress
from knife_jax.records.directory import FILES, METRICS, SUMMARY, write_json
from knife_jax.records.directory import write as write_file
from knife_jax.records.lines import ABSOLUTE, FINAL, Record, read_records
from knife_jax.records.reading import ROWS, ROWS_SUM, RUNNING, records_sum, sealed
from knife_jax.records.series import over_tasks
from knife_jax.sinks.format import brief, duration
from knife_jax.sinks.terminal import is_terminal

RESERVE, RESERVED_BYTES = ".reserve", 64 * 2**10


def write(
    directory: Path, status: str, progress: Progress, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Write ``summary.json`` as things stand, and return it. ``about`` has at least ``seeds``.

    While the run goes on, a file keeps room for its last word on a disk that fills meanwhile.
    """
    rows = read_records(directory / METRICS)
    trained, steps = progress.train_seconds, progress.env_steps * len(about["seeds"])
    summary = {
        "status": status,
        **results(rows, about["seeds"]),
        "env_steps": progress.env_steps,
        "updates": progress.updates,
        "wall_seconds": progress.wall_time,
        "compile_seconds": progress.compile_seconds,
        "train_seconds": round(trained, 3),
        "checkpoint_seconds": round(progress.checkpoint_seconds, 3),
        "diverged_at": [progress.frozen.get(seed) for seed in about["seeds"]],
        "env_steps_per_second": round(steps / trained, 1) if trained else None,
        **about,
        ROWS: len(rows),
        ROWS_SUM: records_sum(rows),
    }
    if status == RUNNING:
        with suppress(OSError):
            write_file(directory / RESERVE, os.urandom(RESERVED_BYTES))
    else:
        (directory / RESERVE).unlink(missing_ok=True)
    write_json(directory / SUMMARY, sealed(summary))
    return summary


def results(rows: Sequence[Record], seeds: Sequence[int]) -> dict[str, Any]:
    """What the rows of a run come to, as lists over its seeds.

    ``final_*`` are the greedy evaluation of the last policy, ``absolute_*`` that of the best one,
    the mean over the tasks of a sequence; None for seeds without one, and for win rates if the
    environment has no winning. ``best_env_steps`` says which policy was the best, None if it was
    not evaluated. ``churn_max`` is None if there was no surgery, or if any change was not finite
    or not measured (methods that act at every update).
    """
    of_kind: dict[str, dict[int, Record]] = {FINAL: {}, ABSOLUTE: {}}
    for row in over_tasks(rows):
        if row["kind"] in of_kind:
            of_kind[row["kind"]][row["seed"]] = row
    surgeries = [row for row in rows if row["kind"] == "surgery"]
    churn = [row["churn_max"] for row in surgeries]
    units = {seed: [r["units_operated"] for r in surgeries if r["seed"] == seed] for seed in seeds}
    out: dict[str, Any] = {}
    for kind, found in of_kind.items():
        for name in ("return", "win_rate", "episodes"):
            out[f"{kind}_{name}"] = values = [found.get(seed, {}).get(name) for seed in seeds]
            if name != "episodes":
                out[f"{kind}_{name}_mean"] = mean(values)
    best = [row["env_steps"] for row in of_kind[ABSOLUTE].values()]
    return out | {
        "best_env_steps": max(best, default=None),
        "surgeries": len({row["updates"] for row in surgeries}),
        "units_operated": [sum(of_seed) for of_seed in units.values()],
        "churn_max": None if not churn or None in churn else max(churn),
    }


def mean(values: Sequence[float | None]) -> float | None:
    """The mean; None if any value is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def show(summary: Mapping[str, Any], directory: Path) -> None:
    """Print the final evaluation per seed, a few numbers of the run, and where its files are."""
    final, absolute = (
        next((n for n in summary[f"{kind}_episodes"] if n is not None), None)
        for kind in (FINAL, ABSOLUTE)
    )
    if final is None:
        say(f"{summary['status']}: no final evaluation")
    else:
        say(f"final greedy evaluation, {final:,} episodes per seed")
        show_evaluation(summary, FINAL)
    if absolute is not None:
        won = summary["absolute_win_rate_mean"]
        values = f"return {brief(summary['absolute_return_mean'])}"
        values += "" if won is None else f", win rate {brief(won)}"
        say(
            f"absolute metric, {absolute:,} other episodes per seed with the best policy, "
            f"of {summary['best_env_steps']:,} env steps: {values}"
        )
    say("\n".join(_facts(summary)))
    written = [name for name in FILES if (directory / name).exists()]
    say(f"{directory}: {', '.join(written)}")
    for offline in sorted(directory.glob("wandb/offline-run-*")):
        say(f"to upload: wandb sync {offline}")


def show_evaluation(summary: Mapping[str, Any], kind: str) -> None:
    """Print the values of a kind, ``final`` or ``absolute``: a row per seed and their mean."""
    returns, rates = f"{kind}_return", f"{kind}_win_rate"
    terminal = is_terminal()
    console = Console() if terminal else Console(color_system=None, force_terminal=False)
    table = Table(box=box.SIMPLE_HEAD if terminal else box.ASCII)
    winning = any(rate is not None for rate in summary[rates])
    for name in ("seed", "return", "win rate")[: 2 + winning]:
        table.add_column(name, justify="right")
    columns = [summary["seeds"], summary[returns], summary[rates]]
    for seed, returned, won in zip(*columns, strict=True):
        table.add_row(str(seed), brief(returned), *([brief(won)] * winning))
    if len(summary["seeds"]) > 1:
        means = [summary[f"{returns}_mean"], summary[f"{rates}_mean"]][: 1 + winning]
        table.add_section()
        table.add_row("mean", *map(brief, means))
    console.print(table)


def _facts(summary: Mapping[str, Any]) -> list[str]:
    wall, compiling = duration(summary["wall_seconds"]), duration(summary["compile_seconds"])
    work = "loading the compiled program" if summary["compile_cached"] else "compiling"
    lines = [
        f"{summary['env_steps']:,} env steps and {summary['updates']:,} updates per seed"
        f" in {wall}, {compiling} of it {work}"
    ]
    if not summary["updates"]:
        lines.append("no gradient step was made: nothing was learnt")
    if summary["env_steps_per_second"] is not None:
        rate = f"{summary['env_steps_per_second']:,.0f} env steps/s"
        lines.append(f"{rate} over all seeds, in training alone")
    for seed, steps in zip(summary["seeds"], summary["diverged_at"], strict=True):
        if steps is not None:
            lines.append(f"seed {seed} has diverged; its networks are those of {steps:,} env steps")
    if summary["surgeries"]:
        churn = summary["churn_max"]
        churn = "not measured or not finite" if churn is None else brief(churn)
        units = ", ".join(map(str, summary["units_operated"]))
        lines.append(
            f"surgeries: {summary['surgeries']}, units operated on per seed: {units}; "
            f"largest change of a value by surgery: {churn}"
        )
    return lines
