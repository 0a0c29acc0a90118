"""The words of ``python -m knife_jax.report.wandb``."""

from __future__ import annotations

import sys

from knife_jax.cli.arguments import Parser, command, ending
from knife_jax.cli.reports import add_runs, beside, protocol_of
from knife_jax.console.exit_codes import REFUSED
from knife_jax.report.wandb_publish import FILE, publish


def main() -> None:
    """Publish a study as a W&B Report; exit with 2 and one line if it cannot be made."""
    parser = Parser(
        prog="python -m knife_jax.report.wandb",
        description="A study as a Weights & Biases Report: a run set for each method, panels with "
        "bands over seeds for the metrics of the table of knife_jax.report.study, recordings, the "
        "table and how it was made. Published if there is a W&B key, else written as the JSON that "
        "would be sent. Needs the extra: pip install 'knife_jax[report]'.",
    )
    add_runs(parser, "STUDY", "folder of a study, or run directories")
    parser.add_argument("--project", required=True, help="W&B project that holds the runs")
    parser.add_argument("--entity", help="W&B user or team (default: your own)")
    parser.add_argument(
        "--out",
        type=ending(".json"),
        metavar="FILE",
        help=f"for the JSON if there is no key (default: {FILE} beside the first run)",
    )
    args = parser.parse_args()
    out = args.out or beside(args.runs[0]) / FILE
    done = publish(args.runs, args.project, args.entity, out, command(parser.prog), protocol_of)
    sys.exit(0 if done else REFUSED)
