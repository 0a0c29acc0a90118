"""What the programs of reports share: the words for runs, and where a report goes."""

from __future__ import annotations

from pathlib import Path

from knife_jax.cli.arguments import Parser
from knife_jax.report.runs import is_run


def add_runs(
    parser: Parser, metavar: str = "RUN", about: str = "run directories, or their folder"
) -> None:
    """Let the parser take runs."""
    parser.add_argument("runs", nargs="+", type=Path, metavar=metavar, help=about)


def beside(run: Path) -> Path:
    """The folder in which a run is, or the folder of runs itself."""
    return run.parent if is_run(run) else run
