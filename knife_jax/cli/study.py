"""``python -m knife_jax.study NAME``: an experiment's methods one after the other, then a report;
if the experiment has levels, all methods at each of these.

Each method is a training run of all seeds, with ``resume=auto`` in a process of its own: the
same command again resumes it.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from knife_jax.cli.arguments import Parser, command
from knife_jax.cli.files import options
from knife_jax.cli.runner import Runner
from knife_jax.cli.sweeps import preflight
from knife_jax.cli.words import parse
from knife_jax.config.protocol import SECTION, protocol
from knife_jax.config.run import Config
from knife_jax.config.schema import ConfigError, nearest, refusal
from knife_jax.console import messages
from knife_jax.console.exit_codes import FAILED, REFUSED, is_of_signal
from knife_jax.console.messages import note, say
from knife_jax.records.compare import config_hash
from knife_jax.records.directory import RunDirectoryError, files_of_run
from knife_jax.records.lines import RecordError
from knife_jax.records.lock import held
from knife_jax.records.reading import Status, read_run

PROGRAM = "python -m knife_jax.study"


class Job(NamedTuple):
    """One method of a study, at one of its levels if it has any."""

    method: str
    folder: Path
    words: list[str]
    """of the command line of ``knife_jax.train``"""
    config: Config


def jobs(
    name: str,
    methods: str | None,
    out: Path,
    overrides: Sequence[str],
    config_dir: str | None = None,
    levels: str | None = None,
) -> list[Job]:
    """What a study trains, in order; ``methods`` and ``levels`` are by default those of its file.

    Raises ``ConfigError``.
    """
    for word in overrides:
        key = word.lstrip("+").partition("=")[0]
        if key in ("experiment", "plasticity", "run_dir", "resume"):
            raise ConfigError(f"{word} is refused: the study says so itself; see --help")
    files = [] if config_dir is None else ["--config-dir", config_dir]
    study = preflight(parse([*files, f"experiment={name}", *overrides]))
    rest = [word for word in overrides if not word.lstrip("+").startswith("algo=")]
    listed = []
    names = (methods or study.experiment.methods).split(",")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"--methods: {twice} is given {names.count(twice)} times; give it once")
    known = [file.stem for file in options("plasticity", Path(config_dir) if config_dir else None)]
    if study.experiment.protocol is not None:
        for asked, question in protocol(study.experiment.protocol).asked().items():
            for role in ("method", "against"):
                said = f"{SECTION}.questions.{asked}.{role}="
                _check_known(said, getattr(question, role), known)
    for method in names:
        _check_known("--methods ", method, known)
    for level in _levels(levels or study.experiment.levels):
        for method in names:
            algo = study.algo.name if method == "none" else f"{study.algo.name}_{method}"
            words = [*files, f"experiment={name}", f"algo={algo}", *rest, *level]
            folder = Path(out, *level, method)
            words += [f"run_dir={folder}", "resume=auto"]
            listed.append(Job(method, folder, words, preflight(parse(words))))
    return listed


def _levels(field: str | None) -> list[list[str]]:
    """The words of each level: none if there are no levels. Raises ``ConfigError``."""
    if field is None:
        return [[]]
    name, _, values = field.partition("=")
    listed = [value.strip() for value in values.split(",")]
    try:
        distinct = {float(value) for value in listed}
    except ValueError:
        distinct = set[float]()
    if not name or len(distinct) < len(listed) or len(listed) < 2:
        given = f"--levels {field}"
        raise ConfigError(refusal(given, "FIELD=a,b,... with two different numbers or more"))
    return [[f"{name}={value}"] for value in listed]


def _check_known(said: str, method: str, known: Sequence[str]) -> None:
    """Raise ``ConfigError`` if there is no such method."""
    if method not in known:
        one_of, meant = f"one of {', '.join(known)}", nearest(method, known)
        raise ConfigError(refusal(f"{said}{method}", one_of, meant))


def is_complete(job: Job) -> bool:
    """Whether this very run has come to its end. Free of jax."""
    try:
        summary = read_run(job.folder).summary
    except RecordError:  # training puts back what its checkpoint holds
        return False
    ended = summary.get("status") == Status.COMPLETE
    return ended and summary.get("config_hash") == config_hash(job.config)


def run(listed: list[Job], out: Path) -> int:
    """Train what is not complete yet, and report. Returns the exit code."""
    failed = []
    with Runner() as runner:
        for i, job in enumerate(listed):
            label = f"study, run {i + 1} of {len(listed)}: {job.folder.relative_to(out)}"
            if is_complete(job):
                say(f"{label} is complete")
                continue
            say(f"{label}\npython -m knife_jax.train {shlex.join(job.words)}")
            code = runner.run([sys.executable, "-m", "knife_jax.train", *job.words])
            if is_of_signal(code):
                note("interrupted: the same command goes on from here")
                return code
            if code != 0:
                failed.append(str(job.folder.relative_to(out)))
                messages.error(f"{failed[-1]} ended with code {code}; the others go on")
    reported = _report(listed, out)
    if failed:
        messages.error(f"not complete: {', '.join(failed)}")
    return FAILED if failed or not reported else 0


def _report(listed: Sequence[Job], out: Path) -> bool:
    """Report on the runs of each level, and on all levels. Returns whether all could be written."""
    # jax is first imported here
    from knife_jax.report import levels
    from knife_jax.report.write import write

    asked, done = listed[0].config.experiment.protocol, True
    for folder in dict.fromkeys(job.folder.parent for job in listed):
        runs = [job.folder for job in listed if job.folder.parent == folder]
        done = write(runs, folder, command(PROGRAM), lambda _: asked) and done
    return levels.written(out) and done if listed[0].folder.parent != out else done


def main() -> None:
    """Run a study; exit with 2 and one line if it cannot be accepted."""
    args = _arguments()
    out = args.out or Path("runs") / args.name
    try:
        if held_files := files_of_run(out):
            text = f"--out {out} is refused: it holds a run ({', '.join(held_files)})"
            raise ConfigError(f"{text}; choose a folder for the study alone")
        listed = jobs(args.name, args.methods, out, args.overrides, args.config_dir, args.levels)
    except ConfigError as error:
        messages.error(str(error))
        sys.exit(REFUSED)
    try:
        with held(out, f"--out {out}"):
            code = run(listed, out)
    except RunDirectoryError as error:
        messages.error(str(error))
        code = REFUSED
    sys.exit(code)


def _arguments() -> argparse.Namespace:
    known = ", ".join(file.stem for file in options("experiment"))
    parser = Parser(
        prog=PROGRAM,
        description="Train all methods of a study, each with all seeds in one program, and report "
        "on them: differences of methods, and answers to the questions of experiment.protocol in "
        "its file. What is complete is left alone, what was interrupted is resumed.",
        epilog="Ctrl-C or SIGTERM: the run at hand saves itself, and the study ends.",
    )
    parser.add_argument("name", metavar="NAME", help=f"configs/experiment/NAME.yaml: {known}")
    parser.add_argument("overrides", nargs="*", help="field=value, for every run")
    parser.add_argument(
        "--methods", metavar="A,B,...", help="plasticity methods (default: those of the file)"
    )
    parser.add_argument(
        "--levels",
        metavar="FIELD=A,B,...",
        help="all methods at each of these levels of a field (default: those of the file, or none)",
    )
    parser.add_argument(
        "--config-dir", metavar="FOLDER", help="your own files, which win over the package's"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="for runs and report (default: runs/NAME)"
    )
    return parser.parse_intermixed_args()
