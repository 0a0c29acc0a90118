"""Where a run stands before its first chunk: at its beginning, or at a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from knife_jax.builders.memory import check_saving
from knife_jax.console import messages
from knife_jax.host import compile_cache, summary
from knife_jax.host.evaluate import compile_evaluation
from knife_jax.host.progress import Progress
from knife_jax.host.prospects import warn_ahead
from knife_jax.host.resume import CheckpointRef, check_same, resume_warnings
from knife_jax.host.run import NEVER, RunInfo, RunState
from knife_jax.host.stored import Checkpoint, newest, shapes_of, start
from knife_jax.records import directory
from knife_jax.records.arrays import shapes, to_tree
from knife_jax.records.checkpoint import Checkpoints
from knife_jax.records.compare import as_begun
from knife_jax.records.reading import Status
from knife_jax.sinks.format import title
from knife_jax.sinks.terminal import compiling

if TYPE_CHECKING:
    from knife_jax.builders.program import Program
    from knife_jax.types import PyTree


def restore(info: RunInfo, checkpoints: Checkpoints, origin: CheckpointRef | None) -> RunState:
    """Find where the run stands, make its directory, and compile what it needs."""
    from knife_jax.builders.program import build

    program = build(info.config)
    began = time.perf_counter()
    table, silent = info.config.logger.table, nullcontext(lambda: None)
    with compiling(title(info.config), info) if table else silent as traced:
        run = _restore(info, program, checkpoints, origin, traced)
    if info.compile_cached is not None:
        info.progress.compile_seconds += time.perf_counter() - began
    return run


def _restore(
    info: RunInfo,
    program: Program,
    checkpoints: Checkpoints,
    origin: CheckpointRef | None,
    traced: Callable[[], None],
) -> RunState:
    """The same; ``traced`` is called before the program is compiled.

    What else needs a compiler has a thread: the first state while training is traced, then
    evaluations. XLA compiles without Python's lock, and mostly on one core.
    """
    info.n_params, info.mesh = program.n_params, dict(program.mesh)
    like = shapes_of(program)
    check_saving(info.config, like["state"])
    found = None if origin is None else _found(info, origin, shapes(like))
    if found is not None:
        info.config = as_begun(info.config, found.about["config"])
    if program.games is not None:
        info.held.callback(program.games.close)
        program.games.open(info.config, info.folder)
    progress, chunk, lowered, evaluation = info.progress, program.chunk, None, None
    placed = program.place(like["state"], like["clock"])
    beside = info.held.enter_context(ThreadPoolExecutor(1))
    beginning = beside.submit(
        partial(start, program, info.seeds)
        if found is None
        else partial(_resumed, info, program, found, like)
    )
    if progress.env_steps < program.env_steps:
        lowered = chunk.lower(*placed)
    begun = beginning.result()
    directory.begin(info.folder, info.config, b"" if found is None else found.metrics())
    info.begun = True
    checkpoints.go_on_from(progress.env_steps)
    if origin and progress.best:
        checkpoints.take(origin.folder, progress.best["env_steps"])
    summary.write(info, Status.RUNNING)
    warn_ahead(program.budget, info.config, begun["clock"])
    state, clock = program.place(begun["state"], begun["clock"])
    if lowered is not None:
        traced()
        evaluation = beside.submit(compile_evaluation, program, placed[0], info.seeds)
        chunk, info.compile_cached = compile_cache.compiled(lowered)
    saved = NEVER if info.checkpoint is None else progress.moment
    return RunState(info, program, checkpoints, state, clock, chunk, evaluation, saved)


def _found(
    info: RunInfo, origin: CheckpointRef, shapes: Mapping[str, list[Any]]
) -> Checkpoint | None:
    """The checkpoint to resume from; the progress is then that of the run it is of."""
    config, shards = info.config, info.mesh["data"]
    with closing(Checkpoints(origin.folder)) as stored:
        same = partial(check_same, config=config, shapes=shapes, shards=shards)
        found = newest(stored, same, origin.step)
    if found is None:
        return None
    for line in resume_warnings(found, config, info.versions, shards):
        messages.warn(line)
    messages.say(f"going on from checkpoint {found.step:,} of {origin.folder.parent}")
    info.progress = Progress.from_json(found.about["progress"])
    if origin.folder.resolve() == info.checkpoint_folder.resolve():  # else it gets its own
        info.checkpoint = found.step
    return found if found.n_shards == shards else found.without_shards()


def _resumed(info: RunInfo, program: Program, found: Checkpoint, like: PyTree) -> dict[str, Any]:
    """What ``start`` gives, as it was when the checkpoint was saved."""
    begun = to_tree(found.arrays, like)
    state, clock = begun["state"], begun["clock"]
    if found.n_shards != program.mesh["data"]:
        state = state.replace(actor=start(program, info.seeds)["state"].actor)
    elif program.games is not None:
        messages.warn("games cannot be stored: new episodes begin, with scenarios of their own")
        state = state.replace(actor=program.actors(state))
    if not found.has_replay:
        clock = clock._replace(replay_since=clock.rounds)
    return {"state": state, "clock": program.budget.plan(clock)}
