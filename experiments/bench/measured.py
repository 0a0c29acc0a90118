"""Rounds of training whose time is on record: the tables of this folder's README, and the record of
a GPU."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scaling import words_of

from knife_jax.cli import compose
from knife_jax.config.run import Config

HERE = Path(__file__).parent
RECORD = HERE / "results" / "h200-2026-11-26" / "record.json"
HEADS = {"seeds": "seeds", "environments": "envs", "hidden units": "hidden", "agents": "agents"}
"""first word of a table's head -> axis of ``scaling.py``"""
CORES = 2
"""of the machine of the tables, a device each"""


class Timed(NamedTuple):
    """A round that was timed."""

    process: str
    """rows of one process were timed in turns, and the machine is not equally fast in all"""
    name: str
    config: Config
    kind: str
    devices: int
    seconds: float
    """of a round, by the clock or of each device at work"""
    bytes: float | None = None
    """of the program, on each device"""


def tables(page: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Heads and rows of all tables of a page in Markdown."""
    for block in re.findall(r"(?:^\|.*\n)+", page, re.M):
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()]
        yield lines[0], lines[2:]


def of_cores(page: str) -> Iterator[Timed]:
    """The tables of ``scaling.py``. If the processors' seconds are said, those of each device: they
    are less disturbed than the clock's. A value that comes again begins a process of its own."""
    sizes = page.partition("\n## Sizes")[2].partition("\n## ")[0]
    for head, rows in tables(sizes):
        title = head[0].partition(" (")[0]
        windows = re.findall(r"a replay of (\d+) windows", head[0])
        more = [f"algo.buffer_size={n}" for n in windows]
        process, seen = title, set()
        for row in rows:
            cells = dict(zip(head[1:], map(_number, row[1:]), strict=True))
            value = re.sub(r".*\((\w+)\)", r"\1", row[0]).partition(",")[0]
            process = f"{title}, again" if value in seen else process
            seen.add(value)
            clock, held = cells["seconds a round"], cells.get("memory, MB a device")
            cpu = cells.get("processor seconds")
            yield Timed(
                process,
                f"{title} {row[0]}",
                compose(words_of(HEADS[title], value, more)),
                "core",
                CORES,
                clock if cpu is None else cpu / CORES,
                held and held * 1e6,
            )


def of_gpu(page: str, record: dict[str, Any]) -> Iterator[Timed]:
    """One device: the record's round and its rate at equal work, and the rates of more seeds."""
    import sides
    from settings import Settings

    done = [each for each in record["stages"] if "result" in each]
    results = {Path(each["command"].split()[1]).stem: each["result"] for each in done}
    parts = results["parts"]
    begun = Timed("parts", "2s3z", compose(parts["words"]), "h200", 1, parts["round"]["ms"] / 1e3)
    yield begun
    equal = results["vs_jaxmarl"]
    settings = Settings(**equal["settings"])
    yield begun._replace(
        process="equal work",
        name="2s3z, windows of 128",
        config=sides.our_config(equal["scenario"], settings, equal["rounds_per_call"]),
        seconds=settings.steps_per_round / equal["ours_env_steps_per_s"],
    )
    for head, rows in tables(page):
        if head[:2] != ["seeds", "env-steps/s of all seeds"]:
            continue
        for seeds, rate, _ in rows:
            config = compose(["env=smax", "algo=qmix_knife", f"num_seeds={seeds}"])
            steps = config.num_seeds * config.algo.window * config.env.n_envs
            seconds = steps / _number(rate)
            yield begun._replace(
                process="seeds of 3m", name=f"3m, seeds {seeds}", config=config, seconds=seconds
            )


def _number(cell: str) -> float:
    return float(cell.replace(",", ""))


def all_timed() -> list[Timed]:
    """All of them."""
    page = (HERE / "README.md").read_text(encoding="utf-8")
    return [*of_cores(page), *of_gpu(page, json.loads(RECORD.read_text(encoding="utf-8")))]
