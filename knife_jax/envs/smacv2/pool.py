"""Processes that play one game each: how they are started, told, waited for and ended."""

from __future__ import annotations

import json
import mmap
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from knife_jax.envs.smacv2.worker.rows import Order, Sizes, arrays, n_bytes

START_FACTOR = 3
"""how many times as long as a step a game may take to be started"""
POLITE = 1.0
"""seconds that a game has to end by itself"""


class FaultError(Exception):
    """A game crashed, hung, or said something else than a row. The message is one line."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    control: socket.socket
    folder: str
    ready: bool = False
    played: bool = False
    """whether it has begun an episode"""


class Pool:
    """G workers and their memory. Different games may be used from different threads."""

    def __init__(
        self, n_games: int, sizes: Sizes, game: str, settings: Mapping[str, Any],
        python: str | None, watchdog: float,
    ) -> None:  # fmt: skip
        size = n_bytes(sizes, n_games)
        self._file = _anonymous(size)
        self.rows = arrays(mmap.mmap(self._file, size), sizes, n_games)
        """what the games say and are told, as arrays ``[G, ...]``"""
        self._workers: list[_Worker | None] = [None] * n_games
        found = shutil.which(python or sys.executable) or python or sys.executable
        self._python, self._watchdog = os.path.abspath(found), watchdog
        self._hello = {
            "sizes": sizes, "n_games": n_games, "game": game, "settings": dict(settings),
            "path": settings.get("path", []),
        }  # fmt: skip
        self._closed, self._lock = False, threading.Lock()

    def launch(self, game: int) -> None:
        """Start the process of a game unless it has one, without waiting for it."""
        with self._lock:
            if self._workers[game] is None and not self._closed:
                self._workers[game] = self._started(game)

    def _started(self, game: int) -> _Worker:
        folder = tempfile.mkdtemp(prefix="knife-game-")
        ours, theirs = socket.socketpair()
        with theirs, open(Path(folder, "log.txt"), "wb") as log:
            here = str(Path(__file__).parent)
            theirs_too = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
            path = os.pathsep.join([here, *map(os.path.abspath, theirs_too)])
            process = subprocess.Popen(
                [self._python, "-m", "worker", *map(str, (theirs.fileno(), self._file, game))],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                pass_fds=(theirs.fileno(), self._file),
                cwd=folder,  # Python looks here first: no file of the user's may be taken for ours
                env=os.environ | {
                    "PYTHONPATH": path, "TMPDIR": folder, "OMP_NUM_THREADS": "1",
                    "CUDA_VISIBLE_DEVICES": "",
                },
            )  # fmt: skip
        with suppress(OSError):
            ours.sendall(json.dumps(self._hello).encode() + b"\n")
        return _Worker(process, ours, folder)

    def is_starting(self, game: int) -> bool:
        """Whether the process of a game is under way and has not said yet that it is ready."""
        worker = self._workers[game]
        if worker is None or worker.ready:
            return False
        said = select.poll()  # unlike recv, it never waits, whatever another thread waits for
        with suppress(ValueError):  # closed meanwhile
            said.register(worker.control, select.POLLIN)
            return not said.poll(0)
        return False

    def send(self, game: int, command: bytes, order: Order | None = None) -> None:
        """Tell a game to reset (``r``) or to step (``s``, its action being in ``rows``).

        Raises ``FaultError``.
        """
        if order is not None:
            self.rows["order"][game] = order
        worker = self._worker(game)
        if not worker.ready:
            self._answer(worker, START_FACTOR * self._watchdog)
            worker.ready = True
        try:
            worker.control.sendall(command)
        except OSError:
            raise FaultError(self._death(worker)) from None

    def recv(self, game: int) -> bool:
        """Wait until a game has done what it was told. Returns whether it was started anew.

        Raises ``FaultError``, at the latest when its time is over.
        """
        worker = self._worker(game)
        factor = 1 if worker.played else START_FACTOR
        answer = self._answer(worker, factor * self._watchdog)
        worker.played = True
        return answer == b"c"

    def _worker(self, game: int) -> _Worker:
        worker = self._workers[game]
        if worker is None:
            raise FaultError("the game was not started")
        return worker

    def _answer(self, worker: _Worker, seconds: float) -> bytes:
        worker.control.settimeout(seconds)
        try:
            answer = worker.control.recv(1)
            if answer == b"!":
                raise FaultError(
                    worker.control.makefile("rb").readline().decode(errors="replace").strip()
                )
        except TimeoutError:
            raise FaultError(f"silent for {seconds:g} seconds") from None
        except OSError:
            answer = b""
        if not answer:
            raise FaultError(self._death(worker))
        if answer not in b".c":
            raise FaultError(f"answered {answer!r}")
        return answer

    def _death(self, worker: _Worker) -> str:
        """How a process ended, and its last line."""
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(POLITE)
        code = worker.process.poll()
        if code is None:
            return "closed its connection"
        killed = " (SIGKILL: out of memory?)" * (code == -signal.SIGKILL)
        said = ""
        with suppress(OSError):
            lines = Path(worker.folder, "log.txt").read_text(errors="replace").split("\n")
            said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"its process ended with {code}{killed}" + f": {said}" * bool(said)

    def kill(self, game: int) -> None:
        """End the process of a game with all that it has started, and remove its folder."""
        worker, self._workers[game] = self._workers[game], None
        if worker is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        worker.control.close()
        shutil.rmtree(worker.folder, ignore_errors=True)

    def close(self) -> None:
        """End all games, politely at first. It may be called again."""
        with self._lock:
            self._closed = True
        for worker in filter(None, self._workers):
            with suppress(OSError):
                worker.control.sendall(b"q")
        end = time.monotonic() + POLITE
        for worker in filter(None, self._workers):
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(end - time.monotonic(), 0.01))
        for game in range(len(self._workers)):
            self.kill(game)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _anonymous(size: int) -> int:
    """A descriptor of memory that vanishes with its last user."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("knife-games")
    else:
        file, name = tempfile.mkstemp()
        os.unlink(name)
    os.ftruncate(file, max(size, 1))
    return file


def blank(rows: Mapping[str, np.ndarray], games: Any) -> None:
    """Fill the rows of games that say nothing: finite, with one action that may be taken."""
    for name in ("obs", "state", "reward", "terminated", "truncated", "won"):
        rows[name][games] = 0
    rows["avail_actions"][games] = False
    rows["avail_actions"][games, ..., 0] = True
