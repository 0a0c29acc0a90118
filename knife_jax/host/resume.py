"""Which checkpoint a run is resumed from, and whether it may be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from knife_jax.config.plain import to_dict
from knife_jax.config.run import Config
from knife_jax.config.schema import shown
from knife_jax.console.messages import listed
from knife_jax.host.stored import (
    PER_SHARD,
    Checkpoint,
    ResumeError,
    check_arrays,
    check_schema,
    n_shards,
)
from knife_jax.records.checkpoint import committed, step_of
from knife_jax.records.compare import differences, result_fields
from knife_jax.records.directory import CHECKPOINTS, FILES
from knife_jax.records.lines import RecordError
from knife_jax.records.reading import computed, read_config

MACHINE = ("jax", "jaxlib", "platform", "device_kind", "n_devices")
"""versions on which the bits of a run depend"""


class CheckpointRef(NamedTuple):
    """A folder of checkpoints, and the one step in it if only that is meant."""

    folder: Path
    step: int | None


def source(config: Config) -> CheckpointRef | None:
    """The checkpoints to resume from; None for a new run.

    Raises ``ResumeError`` if ``resume`` names none; for ``resume=auto`` only if
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
    """The checkpoints in ``run_dir``, of whatever run; None if a run begins there."""
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
            raise ResumeError(f"run_dir={run_dir} holds another run: {listed(differing)}")
    return None


def check_same(
    step: int,
    about: Mapping[str, Any],
    *,
    config: Config,
    shapes: Mapping[str, list[Any]],
    shards: int,
) -> None:
    """Raise ``ResumeError`` if the checkpoint is of another run."""
    check_schema(step, about)
    differing = differences(result_fields(about["config"]), result_fields(to_dict(config)))
    if differing:
        raise ResumeError(f"checkpoint {step:,} is of another run: {listed(differing)}")
    check_arrays(step, about, shapes, () if n_shards(about) == shards else PER_SHARD)


def resume_warnings(
    found: Checkpoint, config: Config, versions: Mapping[str, Any], shards: int
) -> list[str]:
    """Why a resumed run will differ from one that was not interrupted, one line each."""
    about, out = found.about, []
    changed = differences(*({k: v[k] for k in MACHINE} for v in (about["versions"], versions)))
    if changed:
        out.append(f"other bits are possible: the checkpoint was made with {listed(changed)}")
    code, now = about["versions"].get("env_code"), versions.get("env_code")
    if code and now and code["sha256"] != now["sha256"]:
        out.append(f"the code of the environment, {now['file']}, is not what the checkpoint had")
    if config.algo.lr_decay and about["config"]["env_steps"] != config.env_steps:
        budgets = f"{about['config']['env_steps']:,} to {config.env_steps:,}"
        out.append(f"env_steps goes from {budgets}: the learning rate follows the new budget")
    replays = config.algo.data != "rollouts"
    if found.n_shards != shards:
        waits = ", and learning waits until the replay is filled again" if replays else ""
        out.append(
            f"each seed was split over {found.n_shards} devices and is now over {shards}: "
            f"episodes begin anew{waits}"
        )
    elif replays and not found.has_replay:
        out.append("the checkpoint holds no replay: learning waits until it is filled again")
    return out
