"""What a run has left, in a form that can be compared bit by bit."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from knife_jax.records.checkpoint import Checkpoints
from knife_jax.records.lines import read_records

TIMES = ("wall_time", "train_seconds")


def rows_of(run: Path) -> list[dict[str, Any]]:
    """The metrics without the times, which differ between any two runs."""
    rows = read_records(run / "metrics.jsonl")
    return [{name: row[name] for name in row if name not in TIMES} for row in rows]


def end_of(run: Path) -> tuple[int, dict[str, str], list[dict[str, Any]]]:
    """The newest step, the sum of each of its arrays, read back and checked, and the metrics."""
    with closing(Checkpoints(run / "checkpoints")) as stored:
        step = stored.steps()[0]
        about = stored.about(step)
        stored.arrays(step, about)
    sums = {name: row["xxh3"] for name, row in about["arrays"].items() if name != "metrics"}
    return step, sums, rows_of(run)
