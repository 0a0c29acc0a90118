"""Lines for whoever started the program, free of secrets."""

from __future__ import annotations

import sys

from knife_jax.scrub import scrub


def warn(text: str) -> None:
    """One warning line on stderr."""
    print(f"warning: {scrub(text)}", file=sys.stderr)


def one_line(error: BaseException) -> str:
    """An exception as one line of at most 200 characters."""
    return scrub(f"{type(error).__name__}: {' '.join(str(error).split())}")[:200]
