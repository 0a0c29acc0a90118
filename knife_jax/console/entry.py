"""How every program begins. Free of what takes time to import."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import NoReturn

from knife_jax.console.exit_codes import FAILED, of_signal

INTERRUPTED = of_signal(signal.SIGINT)


def run(module: str) -> None:
    """Call ``main`` of a module; one line and ``FAILED`` if a file cannot be read or written.

    Ctrl-C ends the process at once and without a word, also while modules are imported, until a
    program that has something to save handles the signal itself.
    """
    signal.signal(signal.SIGINT, leave)
    # imports and tracing make a million small objects that are no garbage: look at them less often
    gc.set_threshold(200_000, 50, 1000)
    import_module("knife_jax.console.streams").outlast_readers()
    try:
        import_module(module).main()
    except OSError as error:
        text = f"{error.filename or 'a file'}: {error.strerror or error}"
        import_module("knife_jax.console.messages").error(text)
        sys.exit(FAILED)


def train() -> None:
    """The program ``knife-train``, which is ``python -m knife_jax.train``."""
    run("knife_jax.cli.launch")


def leave(number: int, _: FrameType | None) -> NoReturn:
    """End the process: the handler of a signal."""
    with suppress(Exception):
        sys.stdout.flush()
    os._exit(of_signal(number))
