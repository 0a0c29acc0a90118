"""Ctrl-C, SIGTERM, a closed terminal (SIGHUP) and the warnings of schedulers (SIGUSR1, SIGUSR2) as
a request to stop."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

from knife_jax.console.exit_codes import of_signal
from knife_jax.console.messages import note

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
SHOW_CURSOR = b"\x1b[?25h\n"


def caught() -> list[signal.Signals]:
    """``SIGNALS``, but for a SIGHUP that is ignored: under ``nohup`` a run continues."""
    return [s for s in SIGNALS if s != signal.SIGHUP or signal.getsignal(s) != signal.SIG_IGN]


class Stop:
    """``signal`` is the number of the first signal that asked to stop, or None; ``moment`` says
    when the run will end if one comes now."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.received: list[int] = []
        self.handled = 0
        self.moment = "after this chunk"


@contextmanager
def stop_on_signal(leave_at_once: bool = True) -> Iterator[Stop]:
    """Turn the first signal of ``caught`` into a request; a second SIGINT ends the process at once,
    or, without ``leave_at_once``, raises ``KeyboardInterrupt`` as soon as compiled code returns.

    A thread reads the signals, because handlers in the main thread wait until compiled code
    returns. Python allows no handlers outside the main thread: nothing is caught there.

    At the end each signal but SIGINT is handed on to the handler that was there before, if a
    launcher has set one: submitit requeues its job then.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(reader, stop, leave_at_once), daemon=True)
    watcher.start()
    previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handle = partial(_handle, stop, leave_at_once)
    previous: dict[int, Any] = {number: signal.signal(number, handle) for number in caught()}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_fd)
        writer.close()
        watcher.join()
        reader.close()
        for number in dict.fromkeys(stop.received):
            if number != signal.SIGINT and callable(previous[number]):
                signal.raise_signal(number)


def _handle(stop: Stop, leave_at_once: bool, number: int, _: FrameType | None) -> None:
    """Raise ``KeyboardInterrupt`` for a SIGINT after another signal if the process must go on."""
    stop.handled += 1
    again = max(stop.handled, len(stop.received)) > 1
    if number == signal.SIGINT and again and not leave_at_once:
        raise KeyboardInterrupt


def _watch(reader: socket.socket, stop: Stop, leave_at_once: bool) -> None:
    while received := reader.recv(1):
        number = received[0]
        if number not in SIGNALS:
            continue
        stop.received.append(number)
        if stop.signal is None:
            stop.signal = number
            name = signal.Signals(number).name
            again = (
                "Ctrl-C again leaves at once" if leave_at_once else "once more, and it stops now"
            )
            note(f"{name}: ending {stop.moment}; {again}")
        elif number == signal.SIGINT and leave_at_once:
            with suppress(OSError):
                if sys.stdout.isatty():
                    os.write(sys.stdout.fileno(), SHOW_CURSOR)
            os._exit(of_signal(number))
