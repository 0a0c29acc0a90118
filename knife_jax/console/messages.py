"""What programs print: the only place that does, so that nothing in it can harm a terminal."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from knife_jax.console.scrub import scrub


def say(text: str) -> None:
    """Print lines on stdout."""
    print(printable(text), flush=True)


def note(text: str) -> None:
    """Print one line on stderr."""
    print(printable(text, newlines=False), file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print one warning line on stderr, without secrets."""
    note(f"warning: {scrub(text)}")


def error(text: str) -> None:
    """Print one error line on stderr, without secrets."""
    note(f"error: {scrub(text)}")


def trace() -> None:
    """Print the exception that is being handled on stderr, without secrets."""
    print(printable(scrub(traceback.format_exc())), file=sys.stderr, flush=True)


def one_line(error: BaseException) -> str:
    """An exception as one line of at most 200 characters, without secrets."""
    return scrub(f"{type(error).__name__}: {' '.join(str(error).split())}")[:200]


def listed(words: Sequence[object], most: int = 6) -> str:
    """The first words of a list, and how many more there are."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(map(str, words[:most])) + more


def printable(text: str, newlines: bool = True) -> str:
    """The text, with characters that command a terminal or cannot be seen escaped (``\\x1b``)."""
    shown = (c if c.isprintable() or (newlines and c == "\n") else _escaped(c) for c in text)
    return "".join(shown)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
