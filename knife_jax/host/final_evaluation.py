"""What a complete run is worth: its last policy and its best one, on episodes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax

from knife_jax.clock import Clock
from knife_jax.console.messages import warn
from knife_jax.host.evaluate import ABSOLUTE_TIMES, Played, greedy_records, play, policy
from knife_jax.host.progress import Progress
from knife_jax.host.run import RunInfo
from knife_jax.host.signals import Stop
from knife_jax.host.stored import Checkpoint, ResumeError
from knife_jax.parallel import devices
from knife_jax.records.checkpoint import Checkpoints, DamagedError
from knife_jax.records.lines import ABSOLUTE, FINAL, Record
from knife_jax.types import PyTree

if TYPE_CHECKING:
    from knife_jax.builders.program import Program


class StoppedError(Exception):
    """A signal asked to stop before all was played."""


def last_and_best(
    program: Program,
    state: PyTree,
    clock: Clock,
    info: RunInfo,
    checkpoints: Checkpoints,
    stop: Stop,
) -> Iterator[list[Record]]:
    """Records of kind ``final``, then of kind ``absolute``, of the seeds that have not diverged.

    Both are on episodes that no evaluation has played: of the last policy, and of the one with the
    best evaluation, read from its checkpoint, on ten times as many (the absolute metric of Gorsane
    et al. 2022; its records have the env steps of that policy). Raises ``StoppedError``. They are
    in no checkpoint: a run that is resumed at its end plays again, with the same bits.
    """
    progress = info.progress

    def records(kind: str, state: PyTree, stamp: Mapping[str, Any], times: int = 1) -> list[Record]:
        played = play(program, state, kind, info.seeds, stamp["env_steps"], times=times)
        found = greedy_records(program, kind, info.seeds, _until(stop, played), stamp)
        now = {"wall_time": progress.wall_time}
        return [record | now for record in found if record["seed"] not in progress.frozen]

    stop.moment = "after these episodes"
    yield records(FINAL, state, progress.stamp())
    like = jax.eval_shape(lambda: {"state": state, "clock": clock})
    del state  # room for the best one
    if progress.best is not None:
        best, stamp = _stored(program, checkpoints, progress.best["env_steps"], like)
        if best is not None:
            yield records(ABSOLUTE, best, stamp, ABSOLUTE_TIMES)


def _until(stop: Stop, played: Iterator[Played]) -> Iterator[Played]:
    """What is played until a signal comes to any of the processes."""
    for part in played:
        if stopping := devices.agreed(stop.signal):
            stop.signal = stopping
            raise StoppedError
        yield part


def _stored(
    program: Program, checkpoints: Checkpoints, step: int, like: PyTree
) -> tuple[PyTree | None, Mapping[str, Any]]:
    """The policy of a checkpoint and its moment; None, after one warning, if it cannot be used."""
    state, stamp = None, {}
    try:
        about = checkpoints.about(step)
        state = policy(program, Checkpoint(step, about, checkpoints.arrays(step, about)), like)
        stamp = Progress.from_json(about["progress"]).stamp()
    except (DamagedError, ResumeError) as error:
        warn(f"no absolute metric: the best checkpoint, {step:,}, cannot be used: {error}")
    unread = devices.agreed(None if state else 1)  # by any of the processes
    return (None if unread else state), stamp
