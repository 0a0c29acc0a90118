"""The only Python loop: compiled chunks, with logging, evaluation and checkpoints between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import jax

from knife_jax.builders.memory import check_sizes
from knife_jax.config.run import Config
from knife_jax.console import exit_codes, messages
from knife_jax.host import compile_cache, summary
from knife_jax.host.evaluate import evaluate
from knife_jax.host.failures import REFUSALS, leave_failed, outcome
from knife_jax.host.final_evaluation import StoppedError, last_and_best
from knife_jax.host.restore import restore
from knife_jax.host.resume import CheckpointRef, source
from knife_jax.host.run import RunInfo, RunState
from knife_jax.host.saving import finish_saving, save
from knife_jax.host.show import show
from knife_jax.host.signals import Stop, stop_on_signal
from knife_jax.host.train_chunk import train_chunk
from knife_jax.host.watch import ending_of, leave_recording
from knife_jax.parallel import devices
from knife_jax.records import lock
from knife_jax.records.checkpoint import Checkpoints
from knife_jax.records.directory import CHECKPOINTS, check_free, directory_of
from knife_jax.records.lines import Record
from knife_jax.records.reading import Status
from knife_jax.records.versions import versions
from knife_jax.sinks.base import FanOut
from knife_jax.sinks.opening import open_sinks
from knife_jax.sinks.tensorboard import check_tensorboard


def train(config: Config) -> int:
    """Train, and leave everything in the run directory. Returns the exit code, after one line for
    what ended the run early; only errors of the program itself are raised."""
    try:
        return run(config)
    except Exception as error:
        ended = outcome(error)
        if ended is None:
            raise
        code, text = ended
    messages.error(text)
    return code


def run(config: Config, *, leave_at_once: bool = True) -> int:
    """Train, and leave everything in the run directory. Returns 0, or the exit code of a run that a
    signal ended or that has diverged; see ``stop_on_signal`` for ``leave_at_once``.

    Errors are raised, after ``summary.json`` says that the run failed.
    """
    if config.compile_cache:
        compile_cache.keep()
    # before the handlers of signals are set: jax sets one of its own
    first = True
    if config.distributed:
        first = devices.join()
    else:
        devices.begin(config.devices)
    with stop_on_signal(leave_at_once) as stop:
        check_sizes(config)
        check_tensorboard(config)
        with _directory(config, first) as info:
            return _train(info, source(config), stop)


@contextmanager
def _directory(config: Config, first: bool) -> Iterator[RunInfo]:
    """The directory of a run, locked: one process writes it, the others a copy thrown away."""
    if first:
        folder = directory_of(config)
        with lock.held(folder, f"run_dir={folder}"):
            check_free(folder, config)
            yield RunInfo(config, folder, folder / CHECKPOINTS)
    else:
        silent = replace(config.logger, table=False, wandb="disabled", tensorboard=False)
        with TemporaryDirectory() as scratch:
            kept = Path(str(config.run_dir)) / CHECKPOINTS
            yield RunInfo(replace(config, logger=silent), Path(scratch), kept)


def _train(info: RunInfo, origin: CheckpointRef | None, stop: Stop) -> int:
    """From where the run stands to its end. Returns the exit code."""
    done = None
    try:
        info.versions = versions(info.config.env.module())
        with info.held, closing(Checkpoints(info.checkpoint_folder)) as checkpoints:
            stop.moment = "once the program is compiled"
            trained = restore(info, checkpoints, origin)
            steps, so_far = trained.program.env_steps, info.progress.wall_time
            with open_sinks(info.config, steps, info.folder, so_far) as sinks:
                status = train_to_end(trained, sinks, stop)
                summary.write_results(trained)
                finish_saving(trained)
                if status == Status.COMPLETE:
                    now = trained.program, trained.state, trained.clock
                    watched = ending_of(*now[:2], info)
                    ending = last_and_best(*now, info, checkpoints, stop)
                    del trained, now  # room for the best policy
                    status = _write_ending(ending, sinks)
                    if status == Status.COMPLETE and watched and stop.signal is None:
                        done = summary.write(info, status)  # whatever becomes of the recording
                        page = leave_recording(watched, info)
                        if page is not None:
                            sinks.show(page)
        done = done or summary.write(info, status)
    except REFUSALS:
        raise
    except BaseException as error:
        if done is None:
            leave_failed(info, error)
        raise
    if jax.process_index() == 0:
        show(done, info.folder, info.config.logger.tensorboard)
    interrupted = exit_codes.of_signal(stop.signal or 0)
    codes = {Status.COMPLETE: 0, Status.DIVERGED: exit_codes.DIVERGED}
    return codes.get(status, interrupted)


def _write_ending(ending: Iterator[list[Record]], sinks: FanOut) -> Status:
    """Write the records of kind ``final`` and ``absolute``; ``INTERRUPTED`` if a signal came."""
    try:
        for records in ending:
            sinks.write(records)
    except StoppedError:
        return Status.INTERRUPTED
    return Status.COMPLETE


def train_to_end(run: RunState, sinks: FanOut, stop: Stop) -> Status:
    """Train until the budget is used, all seeds have diverged, or a signal asks to stop."""
    progress, config = run.info.progress, run.info.config
    while True:
        finished = progress.env_steps >= run.program.env_steps
        lost = len(progress.frozen) == len(run.info.seeds)
        stopping, best = devices.agreed(stop.signal), False
        unevaluated = (
            progress.passed(config.evaluation.every, progress.evaluated)
            or progress.passed(run.program.task_steps or 0, progress.evaluated)
            or (finished and progress.evaluated < progress.env_steps)
        )
        if unevaluated and stopping is None:
            stop.moment = "after this evaluation"
            best = evaluate(run, sinks)
            unevaluated, stopping = False, devices.agreed(stop.signal)
        ending = finished or lost or stopping is not None
        due = progress.passed(config.checkpoint.every, run.saved[0])
        if (ending or best or due) and progress.env_steps > 0:
            save(run)
        if ending:
            stop.signal = stopping
            if lost:
                return Status.DIVERGED
            return Status.COMPLETE if finished and not unevaluated else Status.INTERRUPTED
        stop.moment = "after this chunk"
        train_chunk(run, sinks)
