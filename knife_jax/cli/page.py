"""The words of ``python -m knife_jax.report``."""

from __future__ import annotations

import sys

from knife_jax.cli.arguments import Parser, command, ending
from knife_jax.cli.repeat import command_of
from knife_jax.cli.reports import add_runs, beside, protocol_of
from knife_jax.console.exit_codes import REFUSED
from knife_jax.report.interactive.write import write

PAGE = "report.html"


def main() -> None:
    """Write the page about some runs; exit with 2 and one line if there is none to show."""
    parser = Parser(
        prog="python -m knife_jax.report",
        description="Compare runs on one interactive page that opens offline: a run, several, or "
        "the folder of a study. Curves with seeds and intervals, neurons by layer, surgeries, "
        "aggregate metrics, configurations, recordings, and the command of each run. Runs that "
        "have not come to their end are shown as far as they came; those that cannot be read are "
        "named and left out.",
        epilog="Print the page to get a PDF. The table of final scores is that of "
        "python -m knife_jax.report.study.",
    )
    add_runs(parser)
    parser.add_argument(
        "--out",
        type=ending(".html"),
        metavar="FILE",
        help=f"the page (default: {PAGE} in the folder that is given, or beside the first of "
        "several runs)",
    )
    args = parser.parse_args()
    first = args.runs[0]
    folder = beside(first) if len(args.runs) > 1 else first
    out = args.out or folder / PAGE
    done = write(args.runs, out, command(parser.prog), command_of, protocol_of)
    sys.exit(0 if done else REFUSED)
