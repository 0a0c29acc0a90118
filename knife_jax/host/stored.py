"""A checkpoint that was read: the newest whose sums agree, and whether it fits a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from knife_jax.console.messages import listed, warn
from knife_jax.records.checkpoint import SCHEMA, Checkpoints, DamagedError, step_of
from knife_jax.records.directory import CHECKPOINTS
from knife_jax.records.lines import RecordError, parsed, to_lines

if TYPE_CHECKING:
    from knife_jax.builders.program import Program

REPLAY = "state/replay/"
PER_SHARD = (REPLAY, "state/actor/")
"""what each shard of a seed has of its own, so that it fits only as many shards"""


class ResumeError(Exception):
    """A run cannot be resumed. The message is one line."""


class Checkpoint(NamedTuple):
    """A checkpoint whose sums agree."""

    step: int
    about: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    @property
    def has_replay(self) -> bool:
        """Whether the replay was kept."""
        return any(name.startswith(REPLAY) for name in self.arrays)

    @property
    def n_shards(self) -> int:
        """How many devices each seed was split over."""
        return n_shards(self.about)

    def metrics(self) -> bytes:
        """The records up to it, each once. Raises ``ResumeError`` if they cannot be read."""
        content = self.arrays["metrics"].tobytes()
        try:
            records, notes, _ = parsed(content)
        except RecordError as error:
            raise ResumeError(f"checkpoint {self.step:,} cannot be used: {error}") from None
        for note in notes:
            warn(f"checkpoint {self.step:,}, metrics.jsonl: {note}")
        return to_lines(records) if notes else content

    def without_shards(self) -> Checkpoint:
        """Without what each shard of a seed has of its own."""
        kept = {k: v for k, v in self.arrays.items() if not k.startswith(PER_SHARD)}
        return self._replace(arrays=kept)


@runtime_checkable
class Check(Protocol):
    """Whether a checkpoint may be used, before any array of it is read."""

    def __call__(self, step: int, about: Mapping[str, Any]) -> None:
        """Raise ``ResumeError`` if not."""
        ...


def start(program: Program, seeds: Sequence[int]) -> dict[str, Any]:
    """What training consists of before its first step, in the form that checkpoints hold."""
    return {"state": program.init(seeds), "clock": program.clock()}


def shapes_of(program: Program) -> dict[str, Any]:
    """The shapes of what ``start`` gives."""
    return {"state": program.shapes, "clock": jax.eval_shape(program.clock)}


def newest(stored: Checkpoints, check: Check, only: int | None = None) -> Checkpoint | None:
    """The newest checkpoint whose sums agree; None if there are none at all.

    Damaged ones are skipped, with a warning each. Raises ``ResumeError`` if all are damaged, and
    what ``check`` raises.
    """
    steps = [step for step in stored.steps() if only in (None, step)]
    for step in steps:
        try:
            about = stored.about(step)
            check(step, about)
            return Checkpoint(step, about, stored.arrays(step, about))
        except DamagedError as error:
            warn(f"checkpoint {step:,} is skipped: {error}")
    if steps:
        raise ResumeError(f"none of the checkpoints {listed(steps)} can be used")
    return None


def find(run: Path, which: str) -> Checkpoint:
    """The checkpoint of a run that is ``newest``, ``best`` or named by its env steps.

    Raises ``ResumeError``.
    """
    with closing(Checkpoints(run / CHECKPOINTS)) as stored:
        steps, only = stored.steps(), step_of(which)
        if not steps:
            raise ResumeError(f"{run} is refused: it holds no checkpoint")
        if which == "best":
            best = newest(stored, check_schema)
            if best is None or best.about["progress"]["best"] is None:
                raise ResumeError(f"checkpoint best is refused: {run} has no evaluation yet")
            only = best.about["progress"]["best"]["env_steps"]
        elif which != "newest" and only not in steps:
            known = ", ".join(map(str, reversed(steps)))
            raise ResumeError(f"checkpoint {which} is refused: must be newest, best, {known}")
        found = newest(stored, check_schema, only)
    if found is None:
        raise ResumeError(f"{run} has no checkpoint {only}")
    return found


def check_schema(step: int, about: Mapping[str, Any]) -> None:
    """Raise ``ResumeError`` if the checkpoint was written by another version of this program."""
    if (schema := about.get("schema")) != SCHEMA:
        raise ResumeError(
            f"checkpoint {step:,} has schema {schema}: must be {SCHEMA} for this version"
        )


def n_shards(about: Mapping[str, Any]) -> int:
    """How many devices each seed was split over."""
    return about.get("mesh", {}).get("data", 1)


def check_arrays(
    step: int,
    about: Mapping[str, Any],
    shapes: Mapping[str, list[Any]],
    but: tuple[str, ...] = (),
) -> None:
    """Raise ``ResumeError`` if the checkpoint is of networks of other shapes.

    The replay may be missing; arrays whose names begin with one of ``but`` are not compared.
    """
    saved = {name: [leaf["shape"], leaf["dtype"]] for name, leaf in about["arrays"].items()}
    wrong = [
        f"{name} is {saved.get(name)} there and {shapes.get(name)} here"
        for name in {**saved, **shapes}
        if saved.get(name) != shapes.get(name)
        and name != "metrics"
        and not (name.startswith(REPLAY) and name not in saved)
        and not name.startswith(but)
    ]
    if wrong:
        raise ResumeError(f"checkpoint {step:,} is of another network: {listed(wrong)}")
