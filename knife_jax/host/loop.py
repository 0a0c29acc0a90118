"""The only Python loop: compiled chunks, with logging, evaluation and checkpoints between."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np

from knife_jax.builders.memory import check_saving, check_sizes
from knife_jax.config.run import Config, to_dict
from knife_jax.console import messages
from knife_jax.console.exit_codes import DIVERGED
from knife_jax.host import compile_cache, resume, summary
from knife_jax.host.ending import StoppedError, last_and_best
from knife_jax.host.evaluate import greedy_records, play
from knife_jax.host.failures import REFUSALS, outcome
from knife_jax.host.faults import check_faults
from knife_jax.host.progress import Progress
from knife_jax.host.prospects import warn_ahead
from knife_jax.host.recording import chunk_records, seed_records
from knife_jax.host.signals import Stop, stop_on_signal
from knife_jax.parallel import devices
from knife_jax.records import directory as run
from knife_jax.records import lock
from knife_jax.records import reading as records
from knife_jax.records.checkpoint import Checkpoints, NotSavedError, shapes, to_arrays, to_tree
from knife_jax.records.compare import config_hash
from knife_jax.records.lines import EVAL, RecordError, read_records
from knife_jax.records.series import over_tasks
from knife_jax.records.versions import versions
from knife_jax.sinks import plot as curve
from knife_jax.sinks.base import FanOut
from knife_jax.sinks.format import title
from knife_jax.sinks.opening import open_sinks
from knife_jax.sinks.terminal import compiling


def train(config: Config) -> int:
    """Train, and leave everything in the run directory. Returns the exit code.

    Errors of the program are raised, after ``summary.json`` says that the run failed.
    """
    if config.compile_cache:
        compile_cache.keep()
    # before the handlers of signals are set: jax sets one of its own
    first = True
    if config.distributed:
        first = devices.join()
    else:
        devices.begin(config.devices)
    with stop_on_signal() as stop, TemporaryDirectory() as scratch, ExitStack() as holding:
        try:
            check_sizes(config)
            if first:
                directory = run.directory_of(config)
                holding.enter_context(lock.held(directory, f"run_dir={directory}"))
                run.check_free(directory, config)
                kept = directory / run.CHECKPOINTS
            else:  # one process writes the run, the others a copy that is thrown away
                directory, kept = Path(scratch), Path(str(config.run_dir)) / run.CHECKPOINTS
                config = replace(
                    config, logger=replace(config.logger, table=False, wandb="disabled")
                )
            return _Run(config, directory, kept, stop).train(resume.source(config))
        except Exception as error:
            ended = outcome(error)
            if ended is None:
                raise
            code, text = ended
    messages.error(text)
    return code


class _Run:
    """One run, from its start or its checkpoint to its end."""

    def __init__(self, config: Config, directory: Path, kept: Path, stop: Stop) -> None:
        self.config, self.directory, self.kept, self.stop = config, directory, kept, stop
        self.seeds = resume.seeds_of(config)
        self.progress = Progress()
        self.saved = (-1, -1)
        self.begun = False
        self.arrays: dict[str, np.ndarray] = {}
        self.about: dict[str, Any] = {
            "seeds": self.seeds, "config_hash": config_hash(config), "compile_cached": None,
            "checkpoint": None,
        }  # fmt: skip

    def train(self, origin: resume.CheckpointRef | None) -> int:
        """From where the run stands to its end. Returns the exit code."""
        shown = self.config.logger.table
        try:
            self.about["versions"] = versions()
            with closing(Checkpoints(self.kept)) as self.checkpoints:
                with compiling(title(self.config), self.about) if shown else nullcontext():
                    self._prepare(origin)
                steps, since = self.program.env_steps, self.progress.wall_time
                with open_sinks(self.config, steps, self.directory, since) as sinks:
                    status = self._loop(sinks)
                    self._write_results()
                    self.checkpoints.wait()
                    self._prune()
                    if status == "complete":
                        status = self._evaluate_end(sinks)
            done = summary.write(self.directory, status, self.progress, self.about)
        except REFUSALS:
            raise
        except BaseException as error:
            self._leave_failed(error)
            raise
        if jax.process_index() == 0:
            summary.show(done, self.directory)
        interrupted = 128 + (self.stop.signal or 0)
        return {"complete": 0, "diverged": DIVERGED}.get(status, interrupted)

    def _leave_failed(self, error: BaseException) -> None:
        """Say in the run directory what went wrong; a run to go on from, not begun yet, is left."""
        self.about["error"] = messages.one_line(error)
        with suppress(OSError, run.RunDirectoryError, RecordError):
            if not (self.directory / run.METRICS).exists():
                run.begin(self.directory, self.config)
                self.begun = True
            if self.begun:
                summary.write(self.directory, records.FAILED, self.progress, self.about)

    def _prepare(self, origin: resume.CheckpointRef | None) -> None:
        """Find where the run stands, make its directory, and compile what it needs."""
        from knife_jax.builders.program import build

        config = self.config
        self.program = build(config)
        self.about |= {"n_params": self.program.n_params, "mesh": self.program.mesh}
        start = partial(resume.start, self.program, self.seeds)
        like = jax.eval_shape(start)
        check_saving(config, like["state"])
        found = origin and self._found(origin, shapes(like))
        if found is None:
            begun = start()
            run.begin(self.directory, config)
        else:
            begun = to_tree(found.arrays, like)
            if found.shares != self.program.mesh["data"]:
                begun["state"] = begun["state"].replace(actor=start()["state"].actor)
            clock = begun["clock"]
            if not found.has_replay:
                clock = clock._replace(replay_since=clock.rounds)
            begun["clock"] = self.program.budget.plan(clock)
            run.begin(self.directory, config, found.metrics())
        self.begun = True
        self.checkpoints.go_on_from(self.progress.env_steps)
        if origin and self.progress.best:
            self.checkpoints.take(origin.folder, self.progress.best["env_steps"])
        summary.write(self.directory, records.RUNNING, self.progress, self.about)
        warn_ahead(self.program.budget, config, begun["clock"])
        self.state, self.clock = self.program.place(begun["state"], begun["clock"])
        if self.progress.env_steps < self.program.env_steps:
            began = time.perf_counter()
            lowered = self.program.chunk.lower(self.state, self.clock)
            self.chunk, self.about["compile_cached"] = compile_cache.compiled(lowered)
            self.progress.compile_seconds += time.perf_counter() - began

    def _found(self, origin: resume.CheckpointRef, shapes: dict) -> resume.Checkpoint | None:
        """The checkpoint to go on from; the progress is then that of the run it is of."""
        folder = origin.folder
        with closing(Checkpoints(folder)) as stored:
            shares = self.program.mesh["data"]
            same = partial(resume.check_same, config=self.config, shapes=shapes, shares=shares)
            found = resume.newest(stored, same, origin.step)
        if found is None:
            return None
        if found.shares != shares:
            found = found.without_shares()
        for caution in resume.resume_warnings(found, self.config, self.about["versions"], shares):
            messages.warn(caution)
        messages.say(f"going on from checkpoint {found.step:,} of {folder.parent}")
        self.progress = Progress.recalled(found.about["progress"])
        if folder.resolve() == self.kept.resolve():  # else it gets one of its own
            self.saved = (self.progress.env_steps, self.progress.judged)
            self.about["checkpoint"] = found.step
        return found

    def _loop(self, sinks: FanOut) -> str:
        """Train until the budget is used, nobody is left, or a signal asks to stop."""
        progress, config = self.progress, self.config
        while True:
            finished = progress.env_steps >= self.program.env_steps
            lost = len(progress.frozen) == len(self.seeds)
            stopping, best = devices.agreed(self.stop.signal), False
            unjudged = (
                progress.passed(config.evaluation.every, progress.judged)
                or progress.passed(self.program.task_steps or 0, progress.judged)
                or (finished and progress.judged < progress.env_steps)
            )
            if unjudged and stopping is None:
                best = self._evaluate(sinks)
                unjudged, stopping = False, devices.agreed(self.stop.signal)
            ending = finished or lost or stopping is not None
            due = progress.passed(config.checkpoint.every, self.saved[0])
            if (ending or best or due) and progress.env_steps > 0:
                self._save()
            if ending:
                self.stop.signal = stopping
                complete = finished and not unjudged
                return "diverged" if lost else "complete" if complete else "interrupted"
            self._train_chunk(sinks)

    def _train_chunk(self, sinks: FanOut) -> None:
        progress, began = self.progress, time.perf_counter()
        before = progress.env_steps
        self.state, self.clock, metrics = self.chunk(self.state, self.clock)
        clock, metrics = devices.fetch((self.clock, metrics))
        check_faults(metrics, self.program.spec, self.seeds)
        now = int(clock.rounds) * self.program.round_steps
        frozen = set(progress.frozen)
        for seed in progress.freeze(self.seeds, metrics["train"].pop("finite")):
            at = f"{progress.env_steps:,} and {now:,} env steps"
            messages.warn(f"seed {seed} has diverged between {at}: it is frozen, the others go on")
        progress.advance(now, clock, time.perf_counter() - began)
        stamp = progress.stamp() | {"train_seconds": round(progress.train_seconds, 3)}
        rows = chunk_records(self.seeds, metrics, self.program, **stamp)
        sinks.write([row for row in rows if self._tells(row, frozen)])
        if progress.passed(self.config.probes.every, before):
            numbers = self.program.probe(self.state, self.clock)
            rows = seed_records("probe", self.seeds, numbers, **progress.stamp())
            sinks.write([row for row in rows if row["seed"] not in progress.frozen])

    def _tells(self, row: dict[str, Any], frozen: set[int]) -> bool:
        """Whether a row of this chunk is to be kept; marks where a seed has diverged."""
        if row["seed"] in self.progress.frozen and row["kind"] == "train":
            row["diverged"] = True
        return row["seed"] not in (frozen if row["kind"] == "train" else self.progress.frozen)

    def _evaluate(self, sinks: FanOut) -> bool:
        """Play greedily; whether it was the best evaluation so far."""
        progress = self.progress
        played = play(self.program, self.state, EVAL, self.seeds, progress.env_steps)
        rows = greedy_records(self.program, EVAL, self.seeds, played, progress.stamp())
        rows = [row for row in rows if row["seed"] not in progress.frozen]
        sinks.write(rows)
        return progress.judge(rows)

    def _evaluate_end(self, sinks: FanOut) -> str:
        """Write the rows of kind ``final`` and ``absolute``: whether that was ``complete``."""
        now = self.program, self.state, self.clock, self.seeds
        ending = last_and_best(*now, self.progress, self.checkpoints, self.stop)
        del self.state, self.arrays  # room for the best one
        try:
            for rows in ending:
                sinks.write(rows)
        except StoppedError:
            return "interrupted"
        return "complete"

    def _save(self) -> None:
        """Begin a checkpoint of everything; a failure is a warning, the run goes on."""
        progress = self.progress
        if self.saved == (progress.env_steps, progress.judged):
            return
        began = time.perf_counter()
        self.saved = (progress.env_steps, progress.judged)
        metrics = np.frombuffer((self.directory / run.METRICS).read_bytes(), np.uint8)
        state = {"state": self.state, "clock": self.clock}
        if self.config.checkpoint.buffer == "none":
            state["state"] = self.state.replace(replay=())
        about = {
            "config": to_dict(self.config), "versions": self.about["versions"],
            "mesh": self.program.mesh, "progress": progress.record(),
        }  # fmt: skip
        try:
            self.checkpoints.wait()
            self._prune()
        except NotSavedError as error:
            messages.warn(f"a checkpoint could not be written: {error}")
        self.arrays = to_arrays(state, into=self.arrays)
        self.checkpoints.save(progress.env_steps, self.arrays | {"metrics": metrics}, about)
        progress.checkpoint_seconds += time.perf_counter() - began

    def _prune(self) -> None:
        best = self.progress.best and self.progress.best["env_steps"]
        self.checkpoints.prune(self.config.checkpoint.keep, best)
        first, steps = self.about["checkpoint"] is None, self.checkpoints.steps()
        if steps:
            self.about["checkpoint"] = steps[0]
        if steps and first:  # from now on the run must not begin anew without it
            summary.write(self.directory, records.RUNNING, self.progress, self.about)

    def _write_results(self) -> None:
        notes = {name: self.about[name] for name in ("seeds", "config_hash", "versions")}
        notes["env_steps"] = self.progress.env_steps
        variables = devices.fetch(self.program.params(self.state))
        run.write_params(self.directory / run.PARAMS, variables, notes)
        rows = over_tasks(read_records(self.directory / run.METRICS))
        run.write(self.directory / run.CURVE, curve.draw(rows, title(self.config)))
