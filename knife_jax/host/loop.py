"""The only Python loop: compiled chunks, with logging and evaluation between them."""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax

from knife_jax.config import Config
from knife_jax.host import curve, run, summary
from knife_jax.host.logging import FanOut, JsonLines, Sink, one_line, warn
from knife_jax.host.progress import Progress
from knife_jax.host.readout import Plan, title
from knife_jax.host.rows import chunk_rows, evaluation_rows, read_rows
from knife_jax.host.signals import Stop, stop_on_signal
from knife_jax.host.table import compiling, open_table
from knife_jax.host.wandb_sink import open_wandb

REFUSED = 2
"""exit code of a run that could not start; an interrupted one ends with 128 + the signal"""

EVALUATION_SEED = 128
"""all seeds of all runs are judged on the same episodes, others at each evaluation"""


def train(config: Config) -> int:
    """Train, and leave everything in the run directory. Returns the exit code.

    Errors of the program are raised, after ``summary.json`` says that the run failed.
    """
    try:
        directory = run.create(config)
    except run.RunDirectoryError as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED
    progress = Progress()
    seeds = list(range(config.seed, config.seed + config.num_seeds))
    about: dict[str, Any] = {"seeds": seeds, "config_hash": run.config_hash(config)}
    with stop_on_signal() as stop:
        try:
            complete = _train(config, directory, progress, about, stop)
        except BaseException as error:
            about["error"] = one_line(error)
            summary.write(directory, "failed", progress, about)
            raise
        status = "complete" if complete else "interrupted"
        summary.show(summary.write(directory, status, progress, about), directory)
    return 0 if complete else 128 + (stop.signal or 0)


def _train(
    config: Config, directory: Path, progress: Progress, about: dict[str, Any], stop: Stop
) -> bool:
    """Whether the run was completed rather than interrupted."""
    seeds = about["seeds"]
    about["versions"] = run.versions()
    summary.write(directory, "running", progress, about)
    with compiling(title(config)) if config.logger.table else nullcontext():
        from knife_jax.build import build

        program = build(config)
        state, clock = program.init(seeds), program.clock()
        chunk = program.chunk.lower(state, clock).compile()
        progress.compile_seconds = progress.wall_time
    about["n_params"] = program.n_params

    complete = False
    with _open_sinks(config, directory, progress) as sinks:
        while not complete and stop.signal is None:
            before = progress.env_steps // config.evaluation.every
            began = time.perf_counter()
            state, clock, metrics = chunk(state, clock)
            now, metrics = jax.device_get((clock, metrics))
            progress.advance(now, time.perf_counter() - began)
            trained = round(progress.train_seconds, 3)
            stamp = progress.stamp() | {"train_seconds": trained}
            sinks.write(chunk_rows(seeds, metrics, program.spec.has_win, **stamp))
            finished = progress.env_steps >= config.env_steps
            due = finished or progress.env_steps // config.evaluation.every > before
            if due and stop.signal is None:
                key = jax.random.fold_in(jax.random.key(EVALUATION_SEED), progress.env_steps)
                episodes = jax.device_get(program.evaluate(state, key))
                rows = evaluation_rows(seeds, episodes, program.spec.has_win, **progress.stamp())
                sinks.write(rows)
                complete = finished

    notes = {name: json.dumps(about[name]) for name in ("seeds", "config_hash", "versions")}
    notes["env_steps"] = str(progress.env_steps)
    run.write_params(directory / run.PARAMS, jax.device_get(program.params(state)), notes)
    run.write(directory / run.CURVE, curve.draw(read_rows(directory / run.METRICS), title(config)))
    return complete


def _open_sinks(config: Config, directory: Path, progress: Progress) -> FanOut:
    mirrors: list[Sink] = []
    if config.logger.wandb != "disabled":
        try:
            mirrors.append(open_wandb(config, directory))
        except Exception as error:
            warn(f"W&B is switched off: {one_line(error)}")
    if config.logger.table:
        plan = Plan(title(config), config.env_steps, config.num_seeds, progress.wall_time)
        mirrors.append(open_table(plan))
    return FanOut(JsonLines(directory / run.METRICS), mirrors)
