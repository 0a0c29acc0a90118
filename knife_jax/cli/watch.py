"""``python -m knife_jax.watch RUN``: record episodes of a run's policy, to be watched."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec

from knife_jax.cli.arguments import Parser, add_policy, ending, whole
from knife_jax.config.schema import ConfigError
from knife_jax.console import messages
from knife_jax.console.exit_codes import REFUSED

FORMS = ("html", "gif", "mp4")
"""of recordings, and the ends of their files' names"""


def main() -> None:
    """Write the recording; exit with 2 and one line if it cannot be made."""
    args = _arguments()
    if not args.run.is_dir():
        _refuse(f"{args.run} is refused: must be a run directory")
    if args.out is not None and (args.out.is_dir() or not args.out.parent.is_dir()):
        _refuse(f"--out {args.out} is refused: must be a file in a folder that exists")
    form = args.format or (args.out.suffix[1:].lower() if args.out else FORMS[0])
    if args.out is not None and args.out.suffix.lower() != f".{form}":
        _refuse(f"--out {args.out} is refused: must end in .{form}, as --format is {form}")
    if form == "mp4" and find_spec("imageio_ffmpeg") is None:
        _refuse("mp4 is refused: it needs imageio-ffmpeg, which the extra video installs")
    # jax is first imported here
    from knife_jax.host.stored import ResumeError
    from knife_jax.host.watch import watch

    try:
        watch(args.run, args.checkpoint, args.episodes, form, args.out, args.seed)
    except (ResumeError, ConfigError) as error:
        _refuse(str(error))


def _refuse(text: str) -> None:
    messages.error(text)
    sys.exit(REFUSED)


def _arguments() -> argparse.Namespace:
    parser = Parser(
        prog="python -m knife_jax.watch",
        description="Record greedy episodes of a run's policy: what happens, and what the networks "
        "say of it.",
        epilog="The episodes are the first ones of the run's own final evaluation, those of "
        "--checkpoint best the first ones of its absolute metric. A recording in HTML is one file "
        "that any browser opens, without a network.",
    )
    add_policy(parser)
    parser.add_argument(
        "--episodes", type=whole(1), default=4, metavar="N", help="how many (default: 4)"
    )
    parser.add_argument(
        "--format", choices=FORMS, help="default: that in which --out ends, else html"
    )
    parser.add_argument(
        "--out",
        type=ending(*(f".{form}" for form in FORMS)),
        metavar="FILE",
        help="default: recording.FORMAT in the run directory",
    )
    parser.add_argument(
        "--seed", type=whole(0), metavar="S", help="the seed of the run that plays (default: first)"
    )
    return parser.parse_args()
