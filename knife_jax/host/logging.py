"""Sinks: where the rows of a run go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, TextIO

from knife_jax.host.rows import Row, over_tasks
from knife_jax.messages import one_line, warn


class Sink(Protocol):
    """Takes rows as they come."""

    def write(self, rows: Sequence[Row]) -> None:
        """Take rows of one moment: whole sets over the seeds, in time order."""
        ...

    def close(self) -> None:
        """Finish; nothing is written after it."""
        ...


class JsonLines:
    """Rows as lines of JSON, on disk when ``write`` returns."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8")

    def write(self, rows: Sequence[Row]) -> None:
        self._file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class FanOut:
    """One sink that is the record of the run, and mirrors of it, which see means over tasks.

    An error of the record is raised. A mirror that fails is dropped with one warning line.
    """

    def __init__(self, record: Sink, mirrors: Iterable[Sink]) -> None:
        self._record = record
        self._mirrors = list(mirrors)

    def write(self, rows: Sequence[Row]) -> None:
        self._record.write(rows)
        rows = over_tasks(rows)
        for mirror in tuple(self._mirrors):
            try:
                mirror.write(rows)
            except Exception as error:
                self._mirrors.remove(mirror)
                warn(f"{type(mirror).__name__} failed and is switched off: {one_line(error)}")

    def close(self) -> None:
        self._record.close()
        for mirror in self._mirrors:
            try:
                mirror.close()
            except Exception as error:
                warn(f"{type(mirror).__name__} did not close: {one_line(error)}")

    def __enter__(self) -> FanOut:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
