"""Compiled programs, kept for the next run."""

from __future__ import annotations

import logging
import platform
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import get_ident
from typing import Any, Protocol, runtime_checkable

import jax
import xxhash
from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from knife_jax.console.messages import warn

MOST_BYTES = 4 * 2**30
"""beyond it, what was not used for the longest time is dropped"""
FOUND = "/jax/compilation_cache/cache_hits"
"""what jax reports when it need not compile"""
RETRIEVED = "/jax/compilation_cache/cache_retrieval_time_sec"
SAVED = "/jax/compilation_cache/compile_time_saved_sec"
"""how long it took to load a program, and how much less than to compile it, in whole seconds"""
ERRORS = "Error (reading|writing) persistent compilation cache entry"
"""what jax warns of, in two lines"""
SURELY_LOADED = 5.0
"""seconds within which no program is compiled that it matters to have found; a busy machine needs
them to load even a small one, for which it may have taken less to compile on an idle one"""
LOCK_SECONDS = 10.0
CPU = ("vendor_id", "cpu family", "model", "model name", "flags", "CPU part", "Features")
"""what a CPU can do and what it is, in the words of Linux"""


def keep() -> None:
    """Let jax keep compiled programs in the user's cache folder, and find them there.

    To be called before anything is compiled. There is a folder for each kind of CPU, because XLA
    would load what was compiled for another one. Without effect if
    ``JAX_COMPILATION_CACHE_DIR`` names another folder, or this one cannot be made.
    """
    _replace_damaged()
    warnings.filterwarnings("ignore", ERRORS)
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    try:
        folder = user_cache_path("knife_jax", appauthor=False) / _cpu()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    _drop_half_written(folder)


def _cpu() -> str:
    """A name for the kind of CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
        about = "\n".join(line for line in lines if line.partition("\t")[0] in CPU)
    except OSError:  # not Linux
        about = platform.processor()
    return f"{platform.machine()}-{xxhash.xxh3_64_hexdigest(about.encode())}"


@cache
def _replace_damaged() -> None:
    """Let programs that cannot be loaded be compiled and stored again, with a warning.

    jax compiles such a program again, but never writes over what is stored.
    """
    log = logging.getLogger("jax._src.compiler")
    level = log.getEffectiveLevel()

    def heard(record: logging.LogRecord) -> bool:
        """Remove what jax did not load: it logs the key before it compiles."""
        if str(record.msg).startswith("PERSISTENT COMPILATION CACHE MISS"):
            folder, (_, key) = jax.config.jax_compilation_cache_dir, record.args  # type: ignore
            with suppress(OSError):
                Path(str(folder), f"{key}-cache").unlink()
                warn(f"a compiled program in {folder} is damaged: it is compiled anew")
        return record.levelno >= level

    log.addFilter(heard)
    log.setLevel(logging.DEBUG)


def _drop_half_written(folder: Path) -> None:
    """Remove programs whose process was killed while it wrote them.

    jax notes the time of use in a file of its own once a program is written; a program without that
    note would never be replaced, and keeps others from being stored.
    """
    with suppress(OSError, Timeout), FileLock(folder / ".lockfile", timeout=LOCK_SECONDS):
        for program in folder.glob("*-cache"):
            if not program.with_name(program.name.removesuffix("cache") + "atime").exists():
                program.unlink()


@runtime_checkable
class Lowered(Protocol):
    """A program that can be compiled, as ``jax.stages.Lowered``."""

    def compile(self) -> Any:
        """Return the compiled program."""
        ...


def compiled(lowered: Lowered) -> tuple[Any, bool]:
    """A program, and whether it was found in the cache.

    XLA may recompile a program while it is loaded: one that took long to load was found only if
    that took less time than to compile it.
    """
    found, took, thread = [], {RETRIEVED: 0.0, SAVED: 0.0}, get_ident()

    def listen(event: str, **_) -> None:
        if event == FOUND and get_ident() == thread:  # others compile other programs
            found.append(event)

    def measure(event: str, duration_secs: float, **_) -> None:
        if event in took and get_ident() == thread:
            took[event] = duration_secs

    jax.monitoring.register_event_listener(listen)
    jax.monitoring.register_event_duration_secs_listener(measure)
    try:
        with warnings.catch_warnings(record=True, action="always") as caught:
            program = lowered.compile()
    finally:
        jax.monitoring.unregister_event_listener(listen)
        jax.monitoring.unregister_event_duration_listener(measure)
    for warning in caught:
        if "Error reading" not in (text := str(warning.message)):
            warn(" ".join(text.split()))
    return program, bool(found) and (took[RETRIEVED] < SURELY_LOADED or took[SAVED] > 0)
