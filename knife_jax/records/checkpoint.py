"""Checkpoints: everything of a run in one folder that is there whole or not at all.

A step holds two Orbax items. ``state`` has the arrays by name; ``about`` says in JSON what they
are: the shape, dtype and xxh3 sum of each, where the run stood and what made it. Orbax alone loads
a checkpoint with flipped bits without a word, so nothing is handed out whose sums do not agree.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np
import xxhash

from knife_jax.console.messages import one_line
from knife_jax.records.arrays import Arrays
from knife_jax.records.reading import json_sum

WILD = {*"*?[\\"}
"""characters of a path that Orbax takes for a pattern: it then leaves out files without a word"""

STEP = re.compile("0|[1-9][0-9]{0,18}")
"""how the folder of a checkpoint is named"""

SCHEMA = 6
"""version of what is written; another one is refused"""

REMOVALS = 10
ASIDE, TORN = ".aside", ".orbax-checkpoint-tmp"


class DamagedError(Exception):
    """A checkpoint is not what was saved. The message is one line."""


class NotSavedError(Exception):
    """A checkpoint could not be written. The message is one line."""


def step_of(name: str) -> int | None:
    """The env steps that a checkpoint's folder is named by; None for another name."""
    return int(name) if STEP.fullmatch(name) else None


def committed(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, newest first; none if there is no such folder."""
    steps = (step_of(path.name) for path in folder.glob("*") if path.is_dir())
    return sorted({step for step in steps if step is not None}, reverse=True)


class Checkpoints:
    """The checkpoints of a run: ``folder/ENV_STEPS``, written while training continues."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._link, self._orbax_folder = None, self._folder
        if WILD & {*str(self._folder)}:
            self._link = TemporaryDirectory(prefix="knife_jax-")
            self._orbax_folder = Path(self._link.name, "checkpoints")
            self._orbax_folder.symlink_to(self._folder)
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    @cached_property
    def _orbax(self) -> Any:
        """Orbax: a third of a second to import, which no run need wait for at its start."""
        _hush()
        import orbax.checkpoint

        return orbax.checkpoint

    @cached_property
    def _writer(self) -> Any:
        return self._orbax.AsyncCheckpointer(self._orbax.CompositeCheckpointHandler())

    def steps(self) -> list[int]:
        """The committed steps, newest first."""
        return committed(self._folder)

    def save(self, step: int, arrays: Arrays, about: Mapping[str, Any]) -> None:
        """Begin to write a step; raises ``NotSavedError`` if the one before it failed.

        ``arrays`` must be left alone until ``wait`` returns.
        """
        self.wait()
        self._pending = self._thread.submit(self._write, step, arrays, about)
        if jax.process_count() > 1:  # all processes must meet in one order
            futures.wait([self._pending])

    def _write(self, step: int, arrays: Arrays, about: Mapping[str, Any]) -> None:
        """In a thread: even to begin takes Orbax half a second of a run of 230 MB."""
        table = {name: _entry(array) for name, array in arrays.items()}
        described = {**about, "schema": SCHEMA, "arrays": table}
        args = self._orbax.args
        items = args.Composite(
            state=args.StandardSave({k: a for k, a in arrays.items() if a.size}),
            about=args.JsonSave({"about": described, "sum": json_sum(described)}),
        )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer.save(self._orbax_folder / str(step), args=items, force=True)
            self._writer.wait_until_finished()
        except Exception:
            self._remove_torn()
            raise

    def wait(self) -> None:
        """Return when the last step is on disk; raises ``NotSavedError`` if it could not be."""
        pending, self._pending = self._pending, None
        try:
            if pending is not None:
                pending.result()
        except Exception as error:
            raise NotSavedError(_reason(error)) from error

    def prune(self, newest: int, best: int | None) -> None:
        """Remove all committed steps but the newest few and the best."""
        if jax.process_index() == 0:
            for step in self.steps()[newest:]:
                if step != best:
                    shutil.rmtree(self._folder / str(step), ignore_errors=True)

    def close(self) -> None:
        """Finish what is being written and release the threads."""
        with contextlib.suppress(NotSavedError):
            self.wait()
        self._thread.shutdown()
        if "_writer" in vars(self):
            with contextlib.suppress(Exception):  # raises what failed before, again
                self._writer.close()
        if self._link is not None:
            self._link.cleanup()

    def about(self, step: int) -> dict[str, Any]:
        """The description stored with a step. Raises ``DamagedError``."""
        try:
            restored = self._restore(step, about=self._orbax.args.JsonRestore())["about"]
            described, stored_sum = restored["about"], restored["sum"]
        except Exception as error:
            raise DamagedError(f"its description cannot be read ({one_line(error)})") from error
        if json_sum(described) != stored_sum:
            raise DamagedError("its description does not match its sum")
        return described

    def arrays(self, step: int, about: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The arrays of a step, each with the sum that was saved. Raises ``DamagedError``."""
        table = about["arrays"]
        empty = {name: np.empty(entry["shape"], entry["dtype"]) for name, entry in table.items()}
        like = {name: array for name, array in empty.items() if array.size}
        try:
            found = self._restore(step, state=self._orbax.args.StandardRestore(like))["state"]
        except Exception as error:
            raise DamagedError(f"its arrays cannot be read ({one_line(error)})") from error
        arrays = {name: np.asarray(found.get(name, empty[name])) for name in table}
        wrong = [name for name, array in arrays.items() if _entry(array) != table[name]]
        if wrong:
            raise DamagedError(
                f"{len(wrong)} of its arrays do not match their sums, first {wrong[0]}"
            )
        return arrays

    def go_on_from(self, step: int) -> None:
        """Remove what was half written, and rename newer steps, damaged or not wanted.

        So they are not counted, and not lost either.
        """
        self._remove_torn()
        for path in list(self._folder.glob("*")):
            newer = step_of(path.name)
            if newer is not None and (newer > step or not path.is_dir()):
                shutil.rmtree(aside := path.with_name(f"{newer}{ASIDE}"), ignore_errors=True)
                path.rename(aside)

    def take(self, folder: Path, step: int) -> None:
        """Copy a committed step of another run, unless it is here or nowhere."""
        source, target = folder / str(step), self._folder / str(step)
        if jax.process_index() == 0 and source.is_dir() and not target.exists():
            shutil.copytree(source, half := target.with_name(f"{step}{TORN}"))
            half.rename(target)

    def _remove_torn(self) -> None:
        """Remove what is half written: again and again, as threads of Orbax outlive its errors."""
        for _ in range(REMOVALS):
            torn = list(self._folder.glob(f"*{TORN}*"))
            if not torn:
                return
            for folder in torn:
                shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.1)

    def _restore(self, step: int, **items: Any) -> Any:
        return self._writer.restore(
            self._orbax_folder / str(step), args=self._orbax.args.Composite(**items)
        )


def _reason(error: BaseException) -> str:
    """The reason of an error: the message of the operating system if it comes from there."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if code := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(code[1]))
    return one_line(error)


@cache
def _hush() -> None:
    """Silence Orbax, which logs each step, and errors that it also raises, at length."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    shows = sys.unraisablehook

    def hook(raised: Any) -> None:
        if str(raised.exc_value) != "Event loop is closed":
            shows(raised)

    sys.unraisablehook = hook


def _entry(array: np.ndarray) -> dict[str, Any]:
    """Shape, dtype and the xxh3 sum of both and of the bytes."""
    kind = {"shape": list(array.shape), "dtype": str(array.dtype)}
    digest = xxhash.xxh3_128(json.dumps(kind).encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return {**kind, "xxh3": digest.hexdigest()}
