"""The loop of a worker: ``python -m worker CONTROL MEMORY INDEX``, the first two descriptors.

The trainer sends one line of JSON, then one byte a command: ``r`` reset, ``s`` step, ``q`` quit.
Each is answered by one byte: ``.`` done, ``c`` done with a game that was started anew before its
limit, ``!`` a fault, with its reason on one line, after which the process ends.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import shutil
import signal
import socket
import sys
import threading
from importlib import import_module
from typing import Any

from .rows import Order, Row, Sizes, arrays

LONGEST = 500
"""characters of a reason"""


def main() -> None:
    """Serve one game until the trainer says so or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer
    control, memory, index = (int(word) for word in sys.argv[1:4])
    trainer = socket.socket(fileno=control)
    threading.Thread(target=_end_with_trainer, args=(control,), daemon=True).start()
    try:
        told = json.loads(_line(trainer))
        sizes, n_games = Sizes(*told["sizes"]), told["n_games"]
        shared = arrays(mmap.mmap(memory, 0), sizes, n_games)
        sys.path[:0] = told["path"]
        module, _, name = told["game"].partition(":")
        game = getattr(import_module(module), name)(told["settings"])
        if tuple(game.sizes) != tuple(sizes):
            raise ValueError("the game has %s, expected %s" % (game.sizes, sizes))
        trainer.sendall(b".")
        _serve(game, trainer, shared, index)
        game.close()
    except Exception as error:
        reason = " ".join(("%s: %s" % (type(error).__name__, error)).split())[:LONGEST]
        try:
            trainer.sendall(b"!" + reason.encode("utf-8", "replace") + b"\n")
        except OSError:
            pass
    finally:
        _leave_nothing()


def _serve(game: Any, trainer: socket.socket, shared: Any, index: int) -> None:
    while True:
        command = trainer.recv(1)
        if command in (b"q", b""):
            return
        recycled = game.recycled
        if command == b"r":
            row = game.reset(Order(*(int(number) for number in shared["order"][index])))
        else:
            row = game.step(shared["action"][index].copy())
        for name, value in zip(Row._fields, row):
            shared[name][index] = value
        trainer.sendall(b"c" if game.recycled > recycled else b".")


def _line(trainer: socket.socket) -> bytes:
    """A line, byte by byte: what follows it is a command."""
    line = b""
    while not line.endswith(b"\n"):
        byte = trainer.recv(1)
        if not byte:
            raise EOFError("the trainer is gone")
        line += byte
    return line


def _end_with_trainer(control: int) -> None:
    """Wait until the trainer is gone, however busy the game is, and leave nothing behind."""
    gone = select.poll()
    gone.register(control, select.POLLRDHUP if hasattr(select, "POLLRDHUP") else select.POLLHUP)
    gone.poll()
    _leave_nothing()
    os._exit(0)


def _leave_nothing() -> None:
    """End the game, and remove the folder of this process."""
    for process in _group():
        try:
            os.kill(process, signal.SIGKILL)
        except OSError:
            pass
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)


def _group() -> Any:
    """The other processes of this one's group: its game."""
    own = os.getpgrp()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if name.isdigit() and int(name) != os.getpid():
            try:
                if os.getpgid(int(name)) == own:
                    yield int(name)
            except OSError:
                pass


if __name__ == "__main__":
    main()
