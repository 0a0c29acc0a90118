"""Sinks: where the records of a run go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

from knife_jax.console.messages import one_line, warn
from knife_jax.records.directory import named
from knife_jax.records.lines import Record
from knife_jax.records.series import over_tasks


@runtime_checkable
class Sink(Protocol):
    """Takes records as they come."""

    def write(self, records: Sequence[Record]) -> None:
        """Take records of one moment: whole sets over the seeds, in time order."""
        ...

    def close(self) -> None:
        """Finish; nothing is written after it."""
        ...


@runtime_checkable
class Shows(Protocol):
    """A sink that shows pages, too."""

    def show(self, page: Path) -> None:
        """Take a page of the run directory, under the name of its file."""
        ...


class JsonLines:
    """Records as lines of JSON, on disk when ``write`` returns: all of them, or none.

    An ``OSError`` has the file's name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)

    def write(self, records: Sequence[Record]) -> None:
        lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
        left, before = memoryview(lines.encode()), self._file.seek(0, os.SEEK_END)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(before)
            raise named(error, self._path) from None

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:  # some file systems over a network notice it now
            raise named(error, self._path) from None


class FanOut:
    """One sink that is the record of the run, and mirrors of it, which see means over tasks.

    An error of the record is raised. A mirror that fails is dropped with one warning line. Those
    that are ``starting``, by name, are waited for before anything is written: they may read the
    record.
    """

    def __init__(
        self,
        log: Sink,
        mirrors: Iterable[Sink],
        starting: Mapping[str, Future[Sink]] | None = None,
    ) -> None:
        self._log = log
        self._mirrors = list(mirrors)
        self._starting = dict(starting or {})

    def write(self, records: Sequence[Record]) -> None:
        self._await_mirrors()
        self._log.write(records)
        means = over_tasks(records)
        self._with_mirrors(lambda mirror: mirror.write(means))

    def show(self, page: Path) -> None:
        """Hand a page of the run directory to the mirrors that can show it."""
        self._with_mirrors(lambda mirror: mirror.show(page) if isinstance(mirror, Shows) else None)

    def _await_mirrors(self) -> None:
        for name in list(self._starting):
            try:
                self._mirrors.append(self._starting[name].result())
            except Exception as error:
                warn(f"{name} is switched off: {one_line(error)}")
            del self._starting[name]

    def _with_mirrors(self, call: Callable[[Sink], None]) -> None:
        for mirror in tuple(self._mirrors):
            try:
                call(mirror)
            except Exception as error:
                self._mirrors.remove(mirror)
                warn(f"{type(mirror).__name__} failed and is switched off: {one_line(error)}")

    def close(self) -> None:
        self._await_mirrors()
        self._log.close()
        for mirror in self._mirrors:
            try:
                mirror.close()
            except Exception as error:
                warn(f"{type(mirror).__name__} did not close: {one_line(error)}")

    def __enter__(self) -> FanOut:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
