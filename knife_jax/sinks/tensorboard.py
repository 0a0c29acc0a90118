"""TensorBoard event files: a run of its own for each seed, and one for their mean."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from knife_jax.config.plain import to_yaml
from knife_jax.config.run import Config
from knife_jax.config.schema import ConfigError
from knife_jax.records.directory import METRICS
from knife_jax.records.lines import IDENTITY, Record, read_records
from knife_jax.records.series import moments, over_seeds, over_tasks

FOLDER, MEAN = "tensorboard", "mean"
FILE = "events.out.tfevents.0.knife_jax"
"""TensorBoard reads the files that have ``tfevents`` in their names"""


class Events:
    """One event file, on disk when ``flush`` returns. It takes its name when ``publish`` is called.

    It begins with a start of the session: a TensorBoard that watches the folder then forgets what
    it has read of an earlier file.
    """

    def __init__(self, path: Path) -> None:
        from tensorboardX import RecordWriter

        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._partial = path, path.with_name(".partial")
        self._writer = RecordWriter(str(self._partial))
        self.add(0.0, file_version="brain.Event:2")
        self.add(0.0, session_log={"status": "START"})

    def add(self, wall_time: float, **event: Any) -> None:
        """Write an event: a step and the fields of TensorBoard's ``Event``."""
        from tensorboardX.proto.event_pb2 import Event  # type: ignore[attr-defined]

        self._writer.write(Event(wall_time=wall_time, **event).SerializeToString())

    def publish(self) -> None:
        """Replace what earlier processes wrote."""
        self._writer.flush()
        os.replace(self._partial, self._path)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class TensorBoardSink:
    """Records as scalars over ``env_steps``, named ``train/return``, ``eval/win_rate``, …

    ``began`` is the time of day at which ``wall_time`` is 0.
    """

    def __init__(self, files: dict[int | str, Events], began: float) -> None:
        self._files, self._began = files, began

    def write(self, records: Sequence[Record]) -> None:
        for seeds in moments(records):
            for record in seeds:
                self._write(self._files[record["seed"]], record)
            if MEAN in self._files:
                self._write(self._files[MEAN], over_seeds(seeds))
        for file in self._files.values():
            file.flush()

    def _write(self, file: Events, record: Record) -> None:
        names = [name for name in record if name not in IDENTITY or name in ("updates", "task")]
        values = [
            {"tag": f"{record['kind']}/{name}", "simple_value": float(record[name])}
            for name in names
            if record[name] is not None
        ]
        wall_time = self._began + record["wall_time"]
        file.add(wall_time, step=record["env_steps"], summary={"value": values})

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def open_tensorboard(config: Config, directory: Path, wall_time: float) -> TensorBoardSink:
    """Begin the event files in ``tensorboard/`` of a run that has taken ``wall_time`` so far.

    The records so far come first, so that a resumed run is one history: the files replace those of
    earlier processes.
    """
    from tensorboardX.summary import text

    described = to_yaml(replace(config, run_dir=None, resume=None)).splitlines()
    shown = "".join(f"    {line}\n" for line in described)
    records = over_tasks(read_records(directory / METRICS))
    names: dict[int | str, str] = {seed: f"seed{seed}" for seed in config.seeds}
    if config.num_seeds > 1:
        names[MEAN] = MEAN
    files = {key: Events(directory / FOLDER / name / FILE) for key, name in names.items()}
    next(reversed(files.values())).add(time.time(), summary=text("config", shown))
    sink = TensorBoardSink(files, time.time() - wall_time)
    sink.write(records)
    for file in files.values():
        file.publish()
    return sink


def check_tensorboard(config: Config) -> None:
    """Raise ``ConfigError`` if event files are wanted and their writer is missing."""
    if config.logger.tensorboard and find_spec("tensorboardX") is None:
        raise ConfigError(
            "logger.tensorboard=true is refused: tensorboardX is not installed "
            "(pip install tensorboardX)"
        )
