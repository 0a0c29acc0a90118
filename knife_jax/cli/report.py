"""The words of ``python -m knife_jax.report.study``."""

from __future__ import annotations

import sys
from pathlib import Path

from knife_jax.cli.arguments import Parser, command, ending
from knife_jax.cli.reports import add_runs, beside, protocol_of
from knife_jax.console.exit_codes import REFUSED
from knife_jax.report import families, levels
from knife_jax.report.write import write


def main() -> None:
    """Report on finished runs; exit with 2 and one line if there are none."""
    parser = Parser(
        prog="python -m knife_jax.report.study",
        description="Compare the runs of a study, one for each method: tables and the answers to "
        "what it asked (Markdown), figures and all numbers (JSON), from their records alone. Runs "
        "that have not come to their end, or are damaged, are named and left out. In the folder of "
        "a study at several levels each of them is reported on, and all together. From a folder "
        "with report.json and no runs the other files are made again; from a folder of such "
        "folders, one for each study, what they say together.",
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
    study = args.runs[0]
    if len(args.runs) == 1 and args.marl_eval is None:
        out = args.out or study
        if at := levels.folders_of_levels(study):
            done = [
                write([path], out / path.name, command(parser.prog), protocol_of) for path in at
            ]
            sys.exit(0 if all([*done, levels.written(out)]) else REFUSED)
        if at := families.folders_of_studies(study):
            sys.exit(0 if families.written(at, out) else REFUSED)
    out = args.out or beside(study)
    done = write(args.runs, out, command(parser.prog), protocol_of, args.marl_eval)
    sys.exit(0 if done else REFUSED)
