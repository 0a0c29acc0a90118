"""Options of programs that take few: what is not accepted is refused in one line."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from knife_jax.config.schema import INT32, Field, at_least, converted, shown, suggestion
from knife_jax.console import messages
from knife_jax.console.exit_codes import REFUSED


class Parser(argparse.ArgumentParser):
    """Takes no option twice and none that is cut short; refuses with exit code 2."""

    def __init__(self, **about: Any) -> None:
        super().__init__(**about, allow_abbrev=False)
        self.register("action", None, _Once)

    def error(self, message: str) -> NoReturn:
        options = [name for action in self._actions for name in action.option_strings]
        named = re.findall(r"(?<!\S)--[\w-]+", message)
        unknown = next((word for word in named if word not in options), None)
        near = "" if unknown is None else suggestion(unknown, options, 0.7)
        messages.error(f"{message}{near or '; see --help'}")
        sys.exit(REFUSED)


class _Once(argparse.Action):
    """Stores the value of an option."""

    given = False

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if option_string and self.given:
            parser.error(f"{option_string} is given 2 times; give it once")
        self.given = True
        setattr(namespace, self.dest, values)


def command(program: str) -> str:
    """The command line that was given to a program, as one would type it."""
    return f"{program} {shlex.join(sys.argv[1:])}"


def whole(least: int) -> Callable[[str], int]:
    """Reads a whole number that is at least ``least``."""
    field = Field(int, False, (at_least(least), INT32), "")

    def read(text: str) -> int:
        try:
            return converted(int(text), field, "")
        except ValueError:
            expected = f"{shown(text)} is refused: must be {field.expects()}"
            raise argparse.ArgumentTypeError(expected) from None

    return read


def ending(*suffixes: str) -> Callable[[str], Path]:
    """Reads the path of a file whose name ends in one of the suffixes."""

    def read(text: str) -> Path:
        if Path(text).suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(
                f"{shown(text)} is refused: must end in {' or '.join(suffixes)}"
            )
        return Path(text)

    return read


def add_policy(parser: Parser) -> None:
    """Let the parser take a run, and which of its policies is meant."""
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument(
        "--checkpoint",
        default="newest",
        metavar="WHICH",
        help="newest, best, or the env steps of one (default: newest whose sums agree)",
    )
