"""``python -m knife_jax.bench.plasticity``: all plasticity methods on two supervised tests."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from knife_jax.bench import figure
from knife_jax.bench.recipes import recipes
from knife_jax.bench.supervised import Outcome
from knife_jax.bench.tasks import DORMANT, SLOTS, Size, chain, expressivity
from knife_jax.cli.arguments import Parser, whole
from knife_jax.console.messages import note, say

WINDOW = 100
"""updates over which methods average"""
QUICK = ("none", "knife", "knife_random", "redo")
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's t for 1 to 9 degrees of freedom; 1.96 is used beyond"""


class Interval(NamedTuple):
    """A mean over seeds with its 95 % confidence interval (Student's t)."""

    mean: float
    half: float

    def __str__(self) -> str:
        return f"{self.mean:.2g} ± {self.half:.2g}"


def interval(values: np.ndarray) -> Interval:
    """Compute the mean of one number per seed and its confidence interval."""
    n = len(values)
    t = T_975[n - 2] if 2 <= n <= 10 else 1.96
    spread = float(np.std(values, ddof=1)) if n > 1 else float("nan")
    return Interval(float(np.mean(values)), t * spread / n**0.5)


def row(outcome: Outcome, fits: np.ndarray) -> dict[str, object]:
    """Summarise one method: first and last quarter of the chain, and the expressivity test."""
    quarter = max(1, outcome.loss.shape[1] // 4)
    return {
        "first": interval(outcome.loss[:, :quarter].mean(1)),
        "last": interval(outcome.loss[:, -quarter:].mean(1)),
        "jump_max": float(outcome.jump.max()),
        "dead_pct": interval(outcome.dead_pct[:, -1]),
        "slots_used": float(outcome.slots_used[:, -1].mean()),
        "expressivity": [interval(fits[:, d]) for d in range(fits.shape[1])],
    }


def table(rows: dict[str, dict]) -> str:
    """Format the rows as text."""
    head = ["method", "first quarter", "last quarter", "jump", "dead %", "slots"]
    lines = [[*head, *(f"{d} of 4 dormant" for d in DORMANT)]]
    for name, numbers in rows.items():
        lines.append(
            [name, str(numbers["first"]), str(numbers["last"]), f"{numbers['jump_max']:.3g}",
             f"{numbers['dead_pct'].mean:.1f}", f"{numbers['slots_used']:.2f}",
             *map(str, numbers["expressivity"])]
        )  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def main(words: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = Parser(
        prog="python -m knife_jax.bench.plasticity",
        description="A chain of random-label tasks and the expressivity test of ReBorn, under "
        "every plasticity method. Losses are relative to the variance of the targets; intervals "
        "are 95 %% over seeds. Ends with one line of JSON.",
    )
    parser.add_argument("--quick", action="store_true", help="a short look at four methods")
    parser.add_argument(
        "--seeds", type=whole(2), default=5, help="networks per method (default: 5)"
    )
    parser.add_argument("--methods", help="names joined by commas (default: all)")
    parser.add_argument("--figure", default="plasticity.png", help="where the picture goes")
    options = parser.parse_args(words)
    long = Size(phases=8, steps=300, rows=128, seeds=options.seeds)
    fit = Size(phases=2, steps=200, rows=256, seeds=options.seeds)
    if not options.quick:
        long = long._replace(phases=24, steps=500, rows=256)
        fit = fit._replace(phases=4, steps=500)
    known, fitting = (
        recipes(slots=SLOTS, window=WINDOW, steps=size.phases * size.steps) for size in (long, fit)
    )
    names = options.methods.split(",") if options.methods else QUICK if options.quick else known
    if unknown := [name for name in names if name not in known]:
        parser.error(f"unknown method {unknown[0]!r}; there are {', '.join(known)}")

    began = time.perf_counter()
    outcomes, rows = {}, {}

    def measured(name: str) -> None:
        outcomes[name] = chain(known[name], long)
        rows[name] = row(outcomes[name], expressivity(fitting[name], fit))
        seconds = time.perf_counter() - began
        note(f"{seconds:6.1f} s  {name}: last quarter {rows[name]['last']}")

    # small networks keep one core busy each
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(measured, names))
    outcomes, rows = ({name: found[name] for name in names} for found in (outcomes, rows))
    say(table(rows))
    fits = {name: numbers["expressivity"] for name, numbers in rows.items()}
    picture = figure.draw({name: outcome.loss for name, outcome in outcomes.items()}, fits)
    Path(options.figure).write_bytes(picture)
    say(f"figure: {options.figure}")
    seconds = round(time.perf_counter() - began, 1)
    say(json.dumps({"chain": long._asdict(), "seconds": seconds, "methods": rows}))
