"""The words of ``python -m knife_jax.report.study``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from knife_jax.cli.arguments import Parser
from knife_jax.console.exit_codes import REFUSED
from knife_jax.report.runs import is_run
from knife_jax.report.write import write


def main() -> None:
    """Report on finished runs; exit with 2 and one line if there are none."""
    parser = Parser(
        prog="python -m knife_jax.report.study",
        description="Compare the runs of a study, one for each method: a table (Markdown), a "
        "figure and all numbers (JSON), from their metrics.jsonl alone. Runs that have not come to "
        "their end, or are damaged, are named and left out.",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run directories, or their folder"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="for the report (default: beside the first run)",
    )
    parser.add_argument(
        "--marl-eval", type=Path, metavar="FILE", help="export scores for marl-eval (JSON)"
    )
    args = parser.parse_args()
    first = args.runs[0]
    out = args.out or (first.parent if is_run(first) else first)
    command = f"python -m knife_jax.report.study {shlex.join(sys.argv[1:])}"
    sys.exit(0 if write(args.runs, out, command, args.marl_eval) else REFUSED)
