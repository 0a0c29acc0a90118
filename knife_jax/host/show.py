"""A summary on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from knife_jax.console.messages import say
from knife_jax.records.directory import FILES
from knife_jax.records.lines import ABSOLUTE, FINAL
from knife_jax.sinks.format import brief, duration
from knife_jax.sinks.tensorboard import FOLDER as TENSORBOARD
from knife_jax.sinks.terminal import is_terminal


def show(summary: Mapping[str, Any], directory: Path, tensorboard: bool) -> None:
    """Print the final evaluation per seed, a few numbers of the run, and its files.

    ``tensorboard`` is whether its event files were written until now.
    """
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
    if tensorboard:
        say(f"to look at: tensorboard --logdir {directory / TENSORBOARD}")


def show_evaluation(summary: Mapping[str, Any], kind: str) -> None:
    """Print the values of a kind, ``final`` or ``absolute``: a row per seed and their mean."""
    values = {name: f"{kind}_{name}" for name in ("return", "regret", "win_rate")}
    shown = {
        name.replace("_", " "): field
        for name, field in values.items()
        if name == "return" or any(value is not None for value in summary[field])
    }
    terminal = is_terminal()
    console = Console() if terminal else Console(color_system=None, force_terminal=False)
    table = Table(box=box.SIMPLE_HEAD if terminal else box.ASCII)
    for name in ("seed", *shown):
        table.add_column(name, justify="right")
    columns = [summary[field] for field in shown.values()]
    for seed, *of_seed in zip(summary["seeds"], *columns, strict=True):
        table.add_row(str(seed), *map(brief, of_seed))
    if len(summary["seeds"]) > 1:
        table.add_section()
        table.add_row("mean", *(brief(summary[f"{field}_mean"]) for field in shown.values()))
    console.print(table)


def _facts(summary: Mapping[str, Any]) -> list[str]:
    wall, compiling = duration(summary["wall_seconds"]), duration(summary["compile_seconds"])
    work = "compiling or loading the compiled program" if summary["compile_cached"] else "compiling"
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
