"""Which checkpoint a run goes on from, and whether it may."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from knife_jax.config.run import Config, to_dict
from knife_jax.config.schema import shown
from knife_jax.console.messages import warn
from knife_jax.records.checkpoint import SCHEMA, Checkpoints, DamagedError, committed, step_of
from knife_jax.records.compare import differences, result_fields
from knife_jax.records.directory import CHECKPOINTS, FILES
from knife_jax.records.lines import parsed, to_lines
from knife_jax.records.reading import RecordError, computed, read_config

if TYPE_CHECKING:
    from knife_jax.builders.program import Program

REPLAY = "state/replay/"
OF_SHARES = (REPLAY, "state/actor/")
"""what each share of a seed has of its own, so that it fits only as many shares"""
MACHINE = ("jax", "jaxlib", "platform", "device_kind", "n_devices")
"""versions on which the bits of a run depend"""


class ResumeError(Exception):
    """A run cannot go on. The message is one line."""


class CheckpointRef(NamedTuple):
    """A folder of checkpoints, and the one step in it if only that is meant."""

    folder: Path
    step: int | None


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
    def shares(self) -> int:
        """How many devices each seed was split over."""
        return shares_of(self.about)

    def metrics(self) -> bytes:
        """The rows up to it, each once. Raises ``ResumeError`` where they are not rows."""
        content = self.arrays["metrics"].tobytes()
        try:
            rows, notes, _ = parsed(content)
        except RecordError as error:
            raise ResumeError(f"checkpoint {self.step:,} cannot be used: {error}") from None
        for note in notes:
            warn(f"checkpoint {self.step:,}, metrics.jsonl: {note}")
        return to_lines(rows) if notes else content

    def without_shares(self) -> Checkpoint:
        """Without what each share of a seed has of its own."""
        kept = {k: v for k, v in self.arrays.items() if not k.startswith(OF_SHARES)}
        return self._replace(arrays=kept)


def start(program: Program, seeds: Sequence[int]) -> dict[str, Any]:
    """What training consists of before its first step, in the form that checkpoints hold."""
    return {"state": program.init(seeds), "clock": program.clock()}


def source(config: Config) -> CheckpointRef | None:
    """The checkpoints to go on from; None for a new run.

    Raises ``ResumeError`` if there are none where ``resume`` says; for ``resume=auto`` only if
    there is another run, or what one has computed without its checkpoints.
    """
    if config.resume is None:
        return None
    if config.resume == "auto":
        return _in_place(Path(str(config.run_dir)), config)
    path = Path(config.resume)
    if (path / CHECKPOINTS).is_dir():
        origin = CheckpointRef(path / CHECKPOINTS, None)
    elif path.is_dir() and (step := step_of(path.name)) is not None:
        origin = CheckpointRef(path.parent, step)
    elif any(os.path.lexists(path / name) for name in FILES):
        origin = CheckpointRef(path / CHECKPOINTS, None)
    else:
        raise ResumeError(
            f"resume={shown(config.resume)} is refused: "
            "must be auto, a run directory or a checkpoint"
        )
    if not committed(origin.folder):
        raise ResumeError(f"resume={shown(config.resume)} is refused: it holds no checkpoint")
    return origin


def _in_place(run_dir: Path, config: Config) -> CheckpointRef | None:
    """The checkpoints of the run in ``run_dir``, which say of which; None if it begins there."""
    if committed(run_dir / CHECKPOINTS):
        return CheckpointRef(run_dir / CHECKPOINTS, None)
    if results := computed(run_dir):
        raise ResumeError(
            f"run_dir={run_dir} holds results ({', '.join(results)}) but no checkpoint to go on "
            f"from: put its {CHECKPOINTS} back, or choose another folder"
        )
    with suppress(RecordError):  # a start that broke off at once
        differing = differences(result_fields(read_config(run_dir)), result_fields(to_dict(config)))
        if differing:
            raise ResumeError(f"run_dir={run_dir} holds another run: {_listed(differing)}")
    return None


def newest(
    stored: Checkpoints, check: Callable[[int, Mapping[str, Any]], None], only: int | None = None
) -> Checkpoint | None:
    """The newest checkpoint whose sums agree; None where there are none at all.

    Damaged ones are skipped, with a warning each. Raises ``ResumeError`` if all are damaged, and
    what ``check(step, about)`` raises, before any array is read.
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
        raise ResumeError(f"none of the checkpoints {_listed(steps)} can be used")
    return None


def check_schema(step: int, about: Mapping[str, Any]) -> None:
    """Raise ``ResumeError`` where the checkpoint was written by another version of this program."""
    if (schema := about.get("schema")) != SCHEMA:
        raise ResumeError(
            f"checkpoint {step:,} has schema {schema}: must be {SCHEMA} for this version"
        )


def check_same(
    step: int,
    about: Mapping[str, Any],
    *,
    config: Config,
    shapes: Mapping[str, list[Any]],
    shares: int,
) -> None:
    """Raise ``ResumeError`` where the checkpoint is not of such a run."""
    check_schema(step, about)
    differing = differences(result_fields(about["config"]), result_fields(to_dict(config)))
    if differing:
        raise ResumeError(f"checkpoint {step:,} is of another run: {_listed(differing)}")
    check_arrays(step, about, shapes, () if shares_of(about) == shares else OF_SHARES)


def shares_of(about: Mapping[str, Any]) -> int:
    """How many devices each seed was split over."""
    return about.get("mesh", {}).get("data", 1)


def check_arrays(
    step: int,
    about: Mapping[str, Any],
    shapes: Mapping[str, list[Any]],
    but: tuple[str, ...] = (),
) -> None:
    """Raise ``ResumeError`` where the checkpoint is not of such networks.

    The replay may lack, and arrays whose names begin with one of ``but`` may be any.
    """
    saved = {name: [row["shape"], row["dtype"]] for name, row in about["arrays"].items()}
    wrong = [
        f"{name} is {saved.get(name)} there and {shapes.get(name)} here"
        for name in {**saved, **shapes}
        if saved.get(name) != shapes.get(name)
        and name != "metrics"
        and not (name.startswith(REPLAY) and name not in saved)
        and not name.startswith(but)
    ]
    if wrong:
        raise ResumeError(f"checkpoint {step:,} is of another network: {_listed(wrong)}")


def resume_warnings(
    found: Checkpoint, config: Config, versions: Mapping[str, Any], shares: int
) -> list[str]:
    """Why going on from a checkpoint will not be bit for bit, one line each."""
    about, out = found.about, []
    changed = differences(*({k: v[k] for k in MACHINE} for v in (about["versions"], versions)))
    if changed:
        out.append(f"other bits are possible: the checkpoint was made with {_listed(changed)}")
    if config.algo.lr_decay and about["config"]["env_steps"] != config.env_steps:
        budgets = f"{about['config']['env_steps']:,} to {config.env_steps:,}"
        out.append(f"env_steps goes from {budgets}: the learning rate follows the new budget")
    if found.shares != shares:
        out.append(
            f"each seed was split over {found.shares} devices and is now over {shares}: "
            "episodes begin anew, and learning waits until the replay is filled again"
        )
    elif not found.has_replay:
        out.append("the checkpoint holds no replay: learning waits until it is filled again")
    return out


def _listed(words: Sequence[Any], most: int = 6) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(map(str, words[:most])) + more
