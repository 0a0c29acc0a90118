"""What a run leaves beside its records: ``summary.json``, the networks and the learning curve."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from knife_jax.host.run import RunInfo, RunState
from knife_jax.parallel import devices
from knife_jax.records.directory import (
    CURVE,
    METRICS,
    PARAMS,
    SUMMARY,
    write_json,
)
from knife_jax.records.directory import write as write_file
from knife_jax.records.lines import ABSOLUTE, FINAL, Record, read_records
from knife_jax.records.params import write_params
from knife_jax.records.reading import ROWS, ROWS_SUM, Status, records_sum, sealed
from knife_jax.records.series import over_tasks
from knife_jax.sinks.format import title

RESERVE, RESERVED_BYTES = ".reserve", 64 * 2**10


def write(info: RunInfo, status: Status) -> dict[str, Any]:
    """Write ``summary.json`` as things stand, and return it.

    While the run continues, a file reserves room for its last summary on a disk that fills up.
    """
    directory, seeds, progress = info.folder, info.seeds, info.progress
    records = read_records(directory / METRICS)
    trained, steps = progress.train_seconds, progress.env_steps * len(seeds)
    summary = {
        "status": status,
        **results(records, seeds),
        "env_steps": progress.env_steps,
        "updates": progress.updates,
        "wall_seconds": progress.wall_time,
        "compile_seconds": progress.compile_seconds,
        "train_seconds": round(trained, 3),
        "checkpoint_seconds": round(progress.checkpoint_seconds, 3),
        "diverged_at": [progress.frozen.get(seed) for seed in seeds],
        "env_steps_per_second": round(steps / trained, 1) if trained else None,
        **info.facts(),
        ROWS: len(records),
        ROWS_SUM: records_sum(records),
    }
    if status == Status.RUNNING:
        with suppress(OSError):
            write_file(directory / RESERVE, os.urandom(RESERVED_BYTES))
    else:
        (directory / RESERVE).unlink(missing_ok=True)
    write_json(directory / SUMMARY, sealed(summary))
    return summary


def write_results(run: RunState) -> None:
    """Write the networks of all seeds and the learning curve."""
    from knife_jax.sinks import plot

    info = run.info
    notes = {name: info.facts()[name] for name in ("seeds", "config_hash", "versions")}
    notes["env_steps"] = info.progress.env_steps
    variables = devices.fetch(run.program.params(run.state))
    write_params(info.folder / PARAMS, variables, notes)
    records = over_tasks(read_records(info.folder / METRICS))
    write_file(info.folder / CURVE, plot.draw(records, title(info.config)))


def results(records: Sequence[Record], seeds: Sequence[int]) -> dict[str, Any]:
    """Scores and surgeries of a run, as lists over its seeds.

    ``final_*`` are the greedy evaluation of the last policy, ``absolute_*`` that of the best one,
    the mean over the tasks of a sequence; None for seeds without one, for win rates if the
    environment has no winning, and for regrets if no optimum is known. ``best_env_steps`` says
    which policy was the best, None if it was not evaluated. ``churn_max`` is None if there was no
    surgery, or if any change was not finite or not measured (methods that act at every update).
    """
    of_kind: dict[str, dict[int, Record]] = {FINAL: {}, ABSOLUTE: {}}
    for record in over_tasks(records):
        if record["kind"] in of_kind:
            of_kind[record["kind"]][record["seed"]] = record
    surgeries = [record for record in records if record["kind"] == "surgery"]
    churn = [record["churn_max"] for record in surgeries]
    units = {seed: [r["units_operated"] for r in surgeries if r["seed"] == seed] for seed in seeds}
    out: dict[str, Any] = {}
    for kind, found in of_kind.items():
        for name in ("return", "regret", "win_rate", "episodes"):
            out[f"{kind}_{name}"] = values = [found.get(seed, {}).get(name) for seed in seeds]
            if name != "episodes":
                out[f"{kind}_{name}_mean"] = mean(values)
    best = [record["env_steps"] for record in of_kind[ABSOLUTE].values()]
    return out | {
        "best_env_steps": max(best, default=None),
        "surgeries": len({record["updates"] for record in surgeries}),
        "units_operated": [sum(of_seed) for of_seed in units.values()],
        "churn_max": None if not churn or None in churn else max(churn),
    }


def mean(values: Sequence[float | None]) -> float | None:
    """The mean; None if any value is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
