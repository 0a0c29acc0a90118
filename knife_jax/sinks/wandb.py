"""Weights & Biases: numbers and configuration only; no code, console, machine or environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from knife_jax.config.plain import to_dict
from knife_jax.config.run import Config
from knife_jax.console.messages import one_line, warn
from knife_jax.console.scrub import scrub
from knife_jax.records.directory import METRICS
from knife_jax.records.lines import IDENTITY, Record, read_records
from knife_jax.records.series import moments, over_seeds, over_tasks

INIT_SECONDS = 20.0
"""how long an online start may take before the run is logged offline"""


class WandbSink:
    """Records as W&B history over ``env_steps``; its steps are the moments of ``metrics.jsonl``."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self._step, self._known = 0, run.starting_step
        run.define_metric("*", step_metric="env_steps")

    def write(self, records: Sequence[Record]) -> None:
        for seeds in moments(records):
            if self._step >= self._known:  # the server has the earlier ones
                self._run.log(history(seeds), step=self._step)  # sent when the next one comes
            self._step += 1

    def show(self, page: Path) -> None:
        """Put a page into the row of the last moment, from which media panels and the summary have
        it: the history stays one row for each moment."""
        from wandb import Html

        shown = Html(str(page), inject=False)
        if self._step > self._known:
            self._run.log({page.stem: shown}, step=self._step - 1)
        else:  # that row is on the server already
            self._run.summary[page.stem] = shown

    def close(self) -> None:
        self._run.finish()


def history(seeds: Sequence[Record]) -> dict[str, Any]:
    """Records of one moment as W&B names: ``seed3/return`` per seed, ``return`` their mean.

    Records of other kinds than ``train`` are named ``eval/return`` and ``seed3/eval/return``.
    """
    kind = seeds[0]["kind"]
    prefix = "" if kind == "train" else f"{kind}/"
    out = {name: seeds[0][name] for name in ("env_steps", "updates", "task", "wall_time")}
    means = over_seeds(seeds)
    for name in means:
        if name in IDENTITY:
            continue
        known = {record["seed"]: record[name] for record in seeds if record[name] is not None}
        out |= {f"seed{seed}/{prefix}{name}": value for seed, value in known.items()}
        if known:
            out[f"{prefix}{name}"] = means[name]
    return out


def open_wandb(config: Config, directory: Path) -> WandbSink:
    """Start a W&B run inside the run directory, or resume the one that is there.

    Online only if the configuration says so, else offline; offline also after one warning if there
    is no key or no network. The records so far come first, so that a resumed run is one history:
    they replace what earlier processes left offline, and online what the server has beyond them,
    as of a run that was killed after its last checkpoint.
    """
    records = over_tasks(read_records(directory / METRICS))
    known, earlier = known_id(directory), _set_aside(directory)
    sink = _open(config, directory, known, len(moments(records)))
    sink.write(records)
    for folder in earlier:
        shutil.rmtree(folder, ignore_errors=True)
    return sink


def known_id(directory: Path) -> str | None:
    """What W&B calls the run in this directory; it ends the names of the folders it makes."""
    folders = sorted(directory.glob("wandb/*run-*"), key=lambda folder: folder.stat().st_mtime)
    return folders[-1].name.rpartition("-")[2] if folders else None


def _set_aside(directory: Path) -> list[Path]:
    """Hide the offline folders of earlier processes from ``wandb sync``; their new names."""
    folders = list(directory.glob("wandb/offline-run-*"))
    return [folder.rename(folder.with_name(f".{folder.name}")) for folder in folders]


def _open(config: Config, directory: Path, known: str | None, n_moments: int) -> WandbSink:
    if config.logger.wandb == "online":
        try:
            return WandbSink(_online(config, directory, known, n_moments))
        except Exception as error:
            warn(f"W&B cannot be reached, logging offline ({one_line(error)})")
    return WandbSink(_start("offline", config, directory, known))


def _online(config: Config, directory: Path, known: str | None, n_moments: int) -> Any:
    """The run on the server, without what it has beyond the first ``n_moments``."""
    run = _start("online", config, directory, known)
    if run.starting_step <= n_moments:
        return run
    run.finish()
    if n_moments == 0:  # nothing of it is gone on with
        return _start("online", config, directory, None)
    try:
        return _start("online", config, directory, known, rewind_to=n_moments - 1)
    except Exception as error:
        warn(
            "W&B cannot rewind the run and keeps what it had beyond the checkpoint "
            f"({one_line(error)})"
        )
        return _start("online", config, directory, known)


def _start(
    mode: Literal["online", "offline"],
    config: Config,
    directory: Path,
    known: str | None,
    rewind_to: int | None = None,
) -> Any:
    """A run of W&B: new, or online resumed after its last step or after ``rewind_to``."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    # silent from the start: otherwise it would ask for a key in a terminal, and wait
    wandb.setup(wandb.Settings(silent=True))
    settings = wandb.Settings(
        mode=mode,
        root_dir=str(directory.resolve()),
        init_timeout=INIT_SECONDS,
        reinit="create_new",
        silent=True,
        symlink=False,
        console="off",
        save_code=False,
        disable_code=True,
        disable_git=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    described = to_dict(config)
    del described["run_dir"]
    branch: dict[str, Any] = {"id": known}  # offline the history is whole: an upload replaces
    if mode == "online":
        branch |= {"resume": "allow"}
    if rewind_to is not None:
        branch = {"resume_from": f"{known}?_step={rewind_to}"}
    return wandb.init(
        project=config.logger.project,
        entity=config.logger.entity,
        name=scrub(directory.name),
        group=None if config.experiment.name == "none" else config.experiment.name,
        job_type="train",
        tags=sorted({part.name[:64] for part in (config.env, config.algo, config.plasticity)}),
        config=described,
        **branch,
        settings=settings,
    )
