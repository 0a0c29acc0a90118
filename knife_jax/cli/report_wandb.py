"""The words of ``python -m knife_jax.report.wandb``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from knife_jax.cli.arguments import Parser
from knife_jax.console.exit_codes import REFUSED
from knife_jax.report.runs import is_run
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
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="STUDY", help="folder of a study, or run directories"
    )
    parser.add_argument("--project", required=True, help="W&B project that holds the runs")
    parser.add_argument("--entity", help="W&B user or team (default: your own)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"for the JSON if there is no key (default: {FILE} beside the first run)",
    )
    args = parser.parse_args()
    first = args.runs[0]
    out = args.out or (first.parent if is_run(first) else first) / FILE
    command = f"python -m knife_jax.report.wandb {shlex.join(sys.argv[1:])}"
    sys.exit(0 if publish(args.runs, args.project, args.entity, out, command) else REFUSED)
