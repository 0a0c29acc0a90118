"""Checkpoints of a run, written while training continues."""

from __future__ import annotations

import time

import numpy as np

from knife_jax.config.plain import to_dict
from knife_jax.console import messages
from knife_jax.host import summary
from knife_jax.host.run import RunState
from knife_jax.records.arrays import to_arrays
from knife_jax.records.checkpoint import NotSavedError
from knife_jax.records.directory import METRICS
from knife_jax.records.reading import Status


def save(run: RunState) -> None:
    """Begin a checkpoint of everything; if the one before failed, a warning says so."""
    info, progress = run.info, run.info.progress
    if run.saved == progress.moment:
        return
    began = time.perf_counter()
    run.saved = progress.moment
    metrics = np.frombuffer((info.folder / METRICS).read_bytes(), np.uint8)
    state = run.state
    if info.config.checkpoint.buffer == "none":
        state = state.replace(replay=())
    about = {
        "config": to_dict(info.config),
        "versions": info.versions,
        "mesh": info.mesh,
        "progress": progress.to_json(),
    }
    try:
        finish_saving(run)
    except NotSavedError as error:
        messages.warn(f"a checkpoint could not be written: {error}")
    run.arrays = to_arrays({"state": state, "clock": run.clock}, into=run.arrays)
    run.checkpoints.save(progress.env_steps, run.arrays | {"metrics": metrics}, about)
    progress.checkpoint_seconds += time.perf_counter() - began


def finish_saving(run: RunState) -> None:
    """Wait for the checkpoint that is being written, and remove those that are not kept.

    Raises ``NotSavedError`` if it could not be written.
    """
    info, best = run.info, run.info.progress.best
    run.checkpoints.wait()
    run.checkpoints.prune(info.config.checkpoint.keep, best["env_steps"] if best else None)
    first, steps = info.checkpoint is None, run.checkpoints.steps()
    if steps:
        info.checkpoint = steps[0]
    if steps and first:  # from now on the run must not be restarted without it
        summary.write(info, Status.RUNNING)
