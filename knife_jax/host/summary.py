"""The end of a run: one JSON object, and a small table of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from knife_jax.host.progress import Progress
from knife_jax.host.readout import brief, duration
from knife_jax.host.records import ROWS_SUM, rows_sum, sealed
from knife_jax.host.rows import Row, over_tasks, read_rows
from knife_jax.host.run import FILES, METRICS, SUMMARY, write_json
from knife_jax.host.table import is_terminal
from knife_jax.messages import say


def write(
    directory: Path, status: str, progress: Progress, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Write ``summary.json`` as things stand, and return it. ``about`` has at least ``seeds``."""
    rows = read_rows(directory / METRICS)
    trained, steps = progress.train_seconds, progress.env_steps * len(about["seeds"])
    summary = {
        "status": status,
        **results(rows, about["seeds"], progress.env_steps),
        "env_steps": progress.env_steps,
        "updates": progress.updates,
        "wall_seconds": progress.wall_time,
        "compile_seconds": progress.compile_seconds,
        "train_seconds": round(trained, 3),
        "checkpoint_seconds": round(progress.checkpoint_seconds, 3),
        "diverged_at": [progress.frozen.get(seed) for seed in about["seeds"]],
        "env_steps_per_second": round(steps / trained, 1) if trained else None,
        **about,
        ROWS_SUM: rows_sum(rows),
    }
    write_json(directory / SUMMARY, sealed(summary))
    return summary


def results(rows: Sequence[Row], seeds: Sequence[int], env_steps: int) -> dict[str, Any]:
    """What the rows of a run come to, as lists over its seeds.

    ``final_*`` are the greedy evaluation at ``env_steps``, the mean over the tasks of a sequence;
    None for seeds without one, and for win rates where the environment has no winning.
    ``churn_max`` is None if there was no surgery, or if any change was not finite
    or not measured (methods that act at every update).
    """
    final = {
        row["seed"]: row
        for row in over_tasks(rows)
        if row["kind"] == "eval" and row["env_steps"] == env_steps
    }
    surgeries = [row for row in rows if row["kind"] == "surgery"]
    churn = [row["churn_max"] for row in surgeries]
    units = {seed: [r["units_operated"] for r in surgeries if r["seed"] == seed] for seed in seeds}
    out = {}
    for name in ("return", "win_rate", "episodes"):
        out[f"final_{name}"] = values = [final.get(seed, {}).get(name) for seed in seeds]
        if name != "episodes":
            out[f"final_{name}_mean"] = mean(values)
    return out | {
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
    episodes = next((n for n in summary["final_episodes"] if n is not None), None)
    if episodes is None:
        say(f"{summary['status']}: no final evaluation")
    else:
        say(f"final greedy evaluation, {episodes} episodes per seed")
        show_evaluation(summary)
    say("\n".join(_facts(summary)))
    written = [name for name in FILES if (directory / name).exists()]
    say(f"{directory}: {', '.join(written)}")
    for offline in sorted(directory.glob("wandb/offline-run-*")):
        say(f"to upload: wandb sync {offline}")


def show_evaluation(summary: Mapping[str, Any]) -> None:
    """Print the ``final_*`` values, a row per seed and their mean."""
    terminal = is_terminal()
    console = Console() if terminal else Console(color_system=None, force_terminal=False)
    table = Table(box=box.SIMPLE_HEAD if terminal else box.ASCII)
    winning = any(rate is not None for rate in summary["final_win_rate"])
    for name in ("seed", "return", "win rate")[: 2 + winning]:
        table.add_column(name, justify="right")
    columns = [summary["seeds"], summary["final_return"], summary["final_win_rate"]]
    for seed, returned, won in zip(*columns, strict=True):
        table.add_row(str(seed), brief(returned), *([brief(won)] * winning))
    if len(summary["seeds"]) > 1:
        means = [summary["final_return_mean"], summary["final_win_rate_mean"]][: 1 + winning]
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
