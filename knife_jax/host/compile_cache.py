"""Compiled programs, kept for the next run."""

from __future__ import annotations

import jax
from platformdirs import user_cache_path

MOST_BYTES = 4 * 2**30
"""beyond it, what was not used for the longest time is dropped"""


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
