"""Programs that are run one at a time, and stopped as their parent is."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable

from knife_jax.console.exit_codes import of_signal
from knife_jax.host.signals import caught

SET_PDEATHSIG = 1
"""of ``prctl`` on Linux: which signal a process gets when its parent dies"""


class Runner:
    """Runs processes one at a time, and hands them the signals that it gets while it is open."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Runner:
        self._previous = {number: signal.signal(number, self._stop) for number in caught()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _: object) -> None:
        self.signal = number
        if self._process is not None:
            self._process.send_signal(number)

    def run(self, command: list[str]) -> int:
        """The exit code of a command: that of its signal if the study got one."""
        # in a group of its own, so that a Ctrl-C reaches it once, from here
        self._process = subprocess.Popen(command, process_group=0, preexec_fn=_die_with_parent())
        if self.signal is not None:
            self._process.send_signal(self.signal)
        code = self._process.wait()
        self._process = None
        return of_signal(self.signal) if self.signal is not None else code


def _die_with_parent() -> Callable[[], None] | None:
    """What a new process does so that it gets SIGTERM when this one dies; None outside Linux."""
    prctl, parent = getattr(ctypes.CDLL(None), "prctl", None), os.getpid()
    if prctl is None:
        return None

    def begin() -> None:
        prctl(SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it has died before this
            os._exit(of_signal(signal.SIGTERM))

    return begin
