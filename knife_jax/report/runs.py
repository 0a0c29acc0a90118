"""Runs as they stand in their folders, read and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from knife_jax.records.directory import files_of_run
from knife_jax.records.lines import Record, RecordError
from knife_jax.records.reading import read_run


class Run(NamedTuple):
    """A complete run. ``name`` is that of its folder, the method."""

    name: str
    records: list[Record]
    """of the seeds that came to their end, too"""
    seeds: list[int]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    """of its cost and origin; empty if there is none"""
    folders: tuple[Path, ...]
    """of the run; of all runs of a method if it has several"""

    @property
    def folder_names(self) -> list[str]:
        """What its folders are called."""
        return [_name(folder) for folder in self.folders]

    def of(self, kind: str) -> list[Record]:
        """The records of one kind."""
        return [record for record in self.records if record["kind"] == kind]


def folders(paths: Sequence[Path]) -> list[Path]:
    """The run directories among the paths and, if a path is none, inside it; each once."""
    out: dict[str, Path] = {}
    for path in paths:
        inside = [] if is_run(path) else sorted(filter(is_run, path.glob("*")))
        for folder in inside or [path]:
            out.setdefault(os.path.realpath(folder), folder)
    return list(out.values())


def is_run(path: Path) -> bool:
    """Whether there is anything of a run, be it damaged, or a link that leads nowhere."""
    return bool(files_of_run(path)) or (path.is_symlink() and not path.exists())


def read_all(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """All runs that can be read, be they at their end or not, and a line for each that cannot,
    or of which some records were dropped."""
    read, notes = list[Run](), list[str]()
    for path in paths:
        name = _name(path)
        try:
            records, dropped, config, summary = read_run(path)
        except RecordError as error:
            notes.append(f"{name} is left out: {error}")
            continue
        notes += [f"{name}: {note}" for note in dropped]
        if name in (run.name for run in read):
            notes.append(f"{path} is left out: another run is called {name}, too")
        else:
            seeds = sorted({record["seed"] for record in records})
            read.append(Run(name, records, seeds, config, summary, (path,)))
    return read, notes


def _name(folder: Path) -> str:
    return Path(os.path.abspath(folder)).name
