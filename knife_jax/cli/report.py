"""The words of ``python -m knife_jax.report.study``."""

from __future__ import annotations

import sys
from pathlib import Path

from knife_jax.cli.arguments import Parser, command, ending
from knife_jax.cli.reports import add_runs, beside, protocol_of
from knife_jax.console.exit_codes import REFUSED
from knife_jax.report.write import write


def main() -> None:
    """Report on finished runs; exit with 2 and one line if there are none."""
    parser = Parser(
        prog="python -m knife_jax.report.study",
        description="Compare the runs of a study, one for each method: a table (Markdown), a "
        "figure and all numbers (JSON), from their metrics.jsonl alone. Runs that have not come to "
        "their end, or are damaged, are named and left out.",
    )
    add_runs(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="for the report (default: beside the first run)",
    )
    parser.add_argument(
        "--marl-eval",
        type=ending(".json"),
        metavar="FILE",
        help="export scores for marl-eval (JSON)",
    )
    args = parser.parse_args()
    out = args.out or beside(args.runs[0])
    done = write(args.runs, out, command(parser.prog), protocol_of, args.marl_eval)
    sys.exit(0 if done else REFUSED)
