"""stdout and stderr that may go away, or fill up, without ending the program. Free of jax."""

from __future__ import annotations

import io
import os
import select
import sys
from contextlib import suppress
from typing import Any


class Unfailing(io.FileIO):
    """A file descriptor whose writes never fail: what cannot be written is dropped."""

    def write(self, content: Any) -> int:
        left = memoryview(content).cast("B")
        with suppress(OSError, ValueError):
            while left:
                written = super().write(left)
                if written is None:  # a pipe that does not block, and is full
                    select.select((), (self,), ())
                left = left[written or 0 :]
        return memoryview(content).nbytes


def outlast_readers() -> None:
    """Let the program continue if its output can no longer be written.

    Covers a closed pipe or terminal, a full disk, descriptors that were closed before the start,
    and characters that the encoding lacks. Call this before other modules keep a stream or open
    a file. Streams that have been replaced, by a notebook for example, are left alone.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file opened would be taken for the terminal
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is getattr(sys, f"__{name}__"):
            setattr(sys, name, stream := _unfailing(name))
            setattr(sys, f"__{name}__", stream)


def _unfailing(name: str) -> io.TextIOWrapper:
    """The stream of that name, written without errors."""
    number = {"stdout": 1, "stderr": 2}[name]
    before = getattr(sys, name)
    raw = Unfailing(number, "w", closefd=False)
    if before is None:
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace")
    with suppress(OSError):
        before.flush()
    at_once = before.write_through  # python -u: without a buffer
    return io.TextIOWrapper(
        raw if at_once else io.BufferedWriter(raw),  # type: ignore[arg-type]
        before.encoding,
        "backslashreplace",
        line_buffering=before.line_buffering,
        write_through=at_once,
    )
