"""Compiled programs, kept for the next run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import jax
from filelock import FileLock, Timeout
from platformdirs import user_cache_path

MOST_BYTES = 4 * 2**30
"""beyond it, what was not used for the longest time is dropped"""
FOUND = "/jax/compilation_cache/cache_hits"
"""what jax reports when it need not compile"""
LOCK_SECONDS = 10.0


def keep() -> None:
    """Let jax keep compiled programs in the user's cache folder, and find them there.

    To be called before anything is compiled. Without effect where ``JAX_COMPILATION_CACHE_DIR``
    names another folder, or this one cannot be made.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    try:
        folder = user_cache_path("knife_jax", appauthor=False, ensure_exists=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    _drop_half_written(folder)


def _drop_half_written(folder: Path) -> None:
    """Remove programs whose process was killed while it wrote them.

    jax notes the time of use in a file of its own once a program is written; a program without that
    note would never be replaced, and keeps others from being stored.
    """
    with suppress(OSError, Timeout), FileLock(folder / ".lockfile", timeout=LOCK_SECONDS):
        for program in folder.glob("*-cache"):
            if not program.with_name(program.name.removesuffix("cache") + "atime").exists():
                program.unlink()


def compiled(lowered: jax.stages.Lowered) -> tuple[jax.stages.Compiled, bool]:
    """A program, and whether it was found in the cache."""
    found = []

    def listen(event: str, **_) -> None:
        found.extend([event] * (event == FOUND))

    jax.monitoring.register_event_listener(listen)
    try:
        return lowered.compile(), bool(found)
    finally:
        jax.monitoring.unregister_event_listener(listen)
