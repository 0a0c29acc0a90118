"""A run directory as a Python object. Free of jax."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from knife_jax.config.plain import from_dict
from knife_jax.config.run import Config
from knife_jax.config.schema import ConfigError, whole_number
from knife_jax.console.messages import warn
from knife_jax.records.directory import SUMMARY, files_of_run
from knife_jax.records.lines import EVALUATIONS, KINDS, Record, RecordError
from knife_jax.records.reading import Status, StoredRun, read_config, read_run
from knife_jax.records.series import columns

if TYPE_CHECKING:
    import pandas


class RunError(Exception):
    """A run broke off, or what it has left cannot be used. The message is one line."""


class Run:
    """A run, finished or not, by what it has left in its directory.

    Everything is read when it is asked for: of a run that is still going on, one sees how far it
    has come.

    Args:
      folder: a run directory.

    Raises:
      RunError: the folder holds no run; from its methods also that a file is damaged.

    Example:
      >>> run = knife_jax.Run("runs/mine")
      >>> run.status, run.summary["final_return"]
      ('complete', [8.0, 8.0])
      >>> evaluations = run.metrics("eval")
      >>> plt.plot(evaluations["env_steps"], evaluations["return"].T)
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        try:
            self.dir = Path(folder)
        except TypeError:
            refused = f"run={folder!r:.80} is refused: must be the path of a run directory"
            raise RunError(refused) from None
        """the run directory"""
        if not files_of_run(self.dir):
            raise RunError(f"{self.dir} is refused: must be a run directory")

    def __fspath__(self) -> str:
        return os.fspath(self.dir)

    def __repr__(self) -> str:
        return f"Run({str(self.dir)!r})"

    @property
    def config(self) -> Config:
        """The configuration of the run, ``run_dir`` included."""
        try:
            return from_dict(read_config(self.dir))
        except (RecordError, ConfigError) as error:
            raise RunError(f"{self.dir}: {error}") from None

    @property
    def summary(self) -> dict[str, Any]:
        """The fields of ``summary.json``. Raises ``RunError`` if there is none."""
        if not (summary := self._read().summary):
            raise RunError(f"{self.dir}: there is no {SUMMARY}")
        return summary

    @property
    def status(self) -> str | None:
        """``running``, ``interrupted``, ``failed``, ``diverged`` or ``complete``, as it was last
        written; None if there is no ``summary.json``. A run that was killed is still ``running``.
        """
        status = self._read().summary.get("status")
        return None if status is None else str(Status(status))

    @property
    def seeds(self) -> list[int]:
        """The seeds, in the order of the axis S of all arrays."""
        return self.config.seeds

    @property
    def records(self) -> list[Record]:
        """The lines of ``metrics.jsonl``: one dict for each seed and moment."""
        return self._read().records

    def metrics(self, kind: str = "train", task: int | None = None) -> dict[str, np.ndarray]:
        """Return the records of one kind as arrays, by name.

        ``seed`` is ``[S]``; what says when (``env_steps``, ``updates``, ``wall_time``, …) is
        ``[P]``, in time order; every other value is ``[S, P]``, NaN where a record has none.

        Args:
          kind: ``train``, ``eval``, ``surgery``, ``probe``, ``final`` or ``absolute``.
          task: of a sequence of tasks, the one that was evaluated, or in which a record was made.
            By default all; evaluations are then the mean over the tasks.

        Raises:
          ValueError: there is no such kind, or no such task.

        Example:
          >>> evaluations = run.metrics("eval")
          >>> evaluations["win_rate"].mean(axis=0)  # over seeds, at evaluations["env_steps"]
        """
        _check(kind)
        if task is not None:
            self._check_task(kind, task)
        records = [record for record in self.records if task in (None, record["task"])]
        return columns(records, kind)

    def frame(self, kind: str | None = None) -> pandas.DataFrame:
        """Return the records as a pandas data frame, one row for each seed and moment.

        Args:
          kind: the kind of records; by default all, with NaN for the fields that a kind lacks.

        Raises:
          ImportError: pandas is not installed.
          ValueError: there is no such kind.

        Example:
          >>> run.frame("eval").groupby("env_steps")["return"].mean()
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("Run.frame needs pandas: pip install pandas") from None
        if kind is not None:
            _check(kind)
        return pandas.DataFrame([r for r in self.records if kind in (None, r["kind"])])

    def _check_task(self, kind: str, task: int) -> None:
        sequence = self.config.env.sequence()
        if sequence is None:
            whole_number(task, "task", 0, 0)
        elif kind in EVALUATIONS:
            whole_number(task, "task", 0, sequence.n_tasks - 1)
        else:  # in training the first task comes again after the last, with a number of its own
            whole_number(task, "task", 0)

    def _read(self) -> StoredRun:
        try:
            stored = read_run(self.dir)
        except RecordError as error:
            raise RunError(f"{self.dir}: {error}") from None
        for note in stored.notes:
            warn(f"{self.dir}: {note}")
        return stored


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind={kind} is refused: must be one of {', '.join(KINDS)}")
