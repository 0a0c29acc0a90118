"""All benchmarks of training within one time limit, made for a single call on a GPU.

    python experiments/bench/accelerator.py [--deadline 540] [--name NAME] [--quick]

Each stage is a benchmark of this folder in a process of its own, the most important first: equal
work against JaxMARL's learner, parts of a round with their share of the machine's peaks, scaling
with seeds, time to win, memory, then the rest. A stage that fails or runs out of time is recorded
as such and the others go on. The record, JSON and Markdown, is written to
experiments/bench/results/NAME after every stage. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from knife_jax import __version__

HERE = Path(__file__).resolve().parent
PACKAGES = ("jax", "jaxlib", "flax", "optax", "jaxmarl", "numpy")
KEPT_LINES = 15
"""of the output of a stage that failed"""


class Stage(NamedTuple):
    """A benchmark, its words, and the most seconds that it may take."""

    command: str
    most: float


STAGES = [
    Stage("vs_jaxmarl.py --scenario 2s3z --quick", 150),
    Stage("parts.py --quick env=smax env.scenario=2s3z algo=qmix_knife", 150),
    Stage("scaling.py --axis seeds --rounds 3 --until 80", 150),
    Stage("time_to_win.py env=smax env.scenario=3m --seeds 0 --limit 60", 120),
    Stage("memory.py --scenario 2s3z --run", 120),
    Stage("vs_jaxmarl.py --scenario 3m --quick", 120),
    Stage("scaling.py --axis envs --rounds 3 --until 60 algo.buffer_size=8192", 100),
    Stage("scaling.py --axis hidden --rounds 3 --until 60", 100),
    Stage("vs_jaxmarl.py --scenario mpe3 --quick", 100),
    Stage("scaling.py --axis agents --rounds 3 --until 60", 100),
]
QUICK = [
    Stage("vs_jaxmarl.py --scenario mpe3 --quick", 120),
    Stage("parts.py --quick --chunk 1 env=smax algo=qmix_knife algo.hidden=32", 150),
    Stage("scaling.py --values 1,2 --rounds 2 algo.hidden=32", 120),
    Stage("memory.py --scenario mpe3 --run", 100),
]
"""small enough for two cores"""


def main() -> None:
    args = _arguments()
    end = time.monotonic() + args.deadline
    device = _device()
    name = args.name or re.sub(r"\W+", "-", f"{device}-{datetime.now(UTC):%Y-%m-%d}").lower()
    folder = HERE / "results" / name
    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "benchmark": "accelerator",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": " ".join(["python", "experiments/bench/accelerator.py", *sys.argv[1:]]),
        "device": device,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES}
        | {"knife_jax": __version__},
        "stages": [],
    }
    for stage in QUICK if args.quick else STAGES:
        record["stages"].append(run(stage, end - time.monotonic()))
        (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")
        (folder / "README.md").write_text(markdown(record))
    outcomes = {stage["command"]: stage["outcome"] for stage in record["stages"]}
    print(json.dumps({"record": str(folder.relative_to(HERE.parents[1])), "stages": outcomes}))


def run(stage: Stage, left: float) -> dict[str, Any]:
    """What became of a stage, with ``left`` seconds to go: its last line of JSON, or its last lines
    and why there is none."""
    record: dict[str, Any] = {"command": f"python experiments/bench/{stage.command}"}
    limit = min(stage.most, left)
    if limit < 1:
        return {**record, "seconds": 0.0, "outcome": "no time was left"}
    print(f"{stage.command} (at most {limit:.0f} s)", flush=True)
    script, *words = stage.command.split()
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(HERE / script), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, outcome = process.communicate(timeout=limit)[0], f"exit {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
        output, outcome = process.communicate()[0], f"stopped after {limit:.0f} s"
    record["seconds"] = round(time.monotonic() - start, 1)
    lines = output.splitlines()
    found = next((line for line in reversed(lines) if line.startswith("{")), None)
    if process.returncode == 0 and found:
        record |= {"outcome": "done", "result": json.loads(found)}
    else:
        record |= {"outcome": outcome, "output": lines[-KEPT_LINES:]}
    print(f"  {record['outcome']} in {record['seconds']} s", flush=True)
    return record


def _device() -> str:
    """What jax runs on, found in another process, since this one must not hold a GPU's memory."""
    program = "import jax; print(jax.devices()[0].device_kind)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


def markdown(record: dict[str, Any]) -> str:
    """The record, to be read."""
    packages = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    lines = [
        f"# {record['device']}, {record['date']}",
        f"    {record['command']}",
        f"{record['cpus']} CPU cores ({record['machine']}), Python {record['python']}, {packages}.",
    ]
    for stage in record["stages"]:
        lines += [f"## `{stage['command']}`", f"{stage['outcome']}, {stage['seconds']} s"]
        lines += _tables(stage.get("result", {}), "")
        lines += ["\n".join("    " + line for line in stage.get("output", []))]
    return "\n\n".join(line for line in lines if line) + "\n"


def _tables(value: dict[str, Any], name: str) -> Iterator[str]:
    """A tree of numbers: records with a key in common become a table, the rest lines."""
    groups = {key: _rows(each) for key, each in value.items() if isinstance(each, dict | list)}
    single = {key: each for key, each in value.items() if key not in groups}
    if single:
        yield f"{name}: " * bool(name) + ", ".join(f"{k} {_cell(v)}" for k, v in single.items())
    rows = [row for row in groups.values() if row]
    flat = not any(isinstance(each, dict | list) for row in rows for each in row.values())
    if rows and flat and set.intersection(*map(set, rows)):
        columns = list(dict.fromkeys(column for row in rows for column in row))
        table = [["", *columns], ["---"] * (len(columns) + 1)]
        table += [[key, *(_cell(row.get(c, "")) for c in columns)] for key, row in groups.items()]
        yield "\n".join(f"| {' | '.join(cells)} |" for cells in table)
        return
    for key, group in groups.items():
        yield from _tables(group, key)


def _rows(value: dict[str, Any] | list[Any]) -> dict[str, Any]:
    """A list of records by their numbers; lists of single values are for the JSON alone."""
    if isinstance(value, dict):
        return value
    return {str(i + 1): row for i, row in enumerate(value) if isinstance(row, dict)}


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--deadline", type=float, default=540, help="seconds for everything (default: 540)"
    )
    parser.add_argument("--name", help="of the record (default: the device and the date)")
    parser.add_argument("--quick", action="store_true", help="four small stages, for a CPU")
    return parser.parse_args()


if __name__ == "__main__":
    main()
