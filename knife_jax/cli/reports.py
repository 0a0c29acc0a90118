"""What the programs of reports share: the words for runs, and where a report goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knife_jax.cli.arguments import Parser
from knife_jax.cli.compose import compose
from knife_jax.cli.files import options
from knife_jax.report.runs import is_run


def add_runs(
    parser: Parser, metavar: str = "RUN", about: str = "run directories, or their folder"
) -> None:
    """Let the parser take runs."""
    parser.add_argument("runs", nargs="+", type=Path, metavar=metavar, help=about)


def beside(run: Path) -> Path:
    """The folder in which a run is, or the folder of runs itself."""
    return run.parent if is_run(run) else run


def protocol_of(study: str) -> Mapping[str, Any] | None:
    """The protocol in the package's file of a study, as it is now; None if there is none."""
    if study not in (file.stem for file in options("experiment")):
        return None
    return compose([f"experiment={study}"]).experiment.protocol
