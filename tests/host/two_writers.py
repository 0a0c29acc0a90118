"""Start two processes on one run directory: one must run, the other be refused by its name.

    python tests/host/two_writers.py [--starts 50] [--apart 20] [--seed 0]

Each time two runs are started at most ``--apart`` seconds one after the other, both as new ones
with different seeds or both with ``resume=auto``. Once one of them has ended, the other is asked to
end, too. The first has to have exit code 2 and one line that names the other; the rows must then be
those of the other alone, each moment once and none left out. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from knife_jax.records.reading import read_run

ROOT = Path(__file__).parents[2]
LOG_EVERY = 512
WORDS = f"""
env=matrix_game env.n_envs=8 algo.hidden=8 algo.embed=4 algo.hyper_hidden=8 algo.window=4
algo.batch_size=8 algo.buffer_size=64 algo.learning_starts=64 env_steps=1e8 log_every={LOG_EVERY}
evaluation.every=50000 evaluation.episodes=8 probes.every=0
recording.episodes=0 checkpoint.every=50000
logger.wandb=disabled logger.table=false devices=1
"""


def start(words: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "knife_jax.train", *WORDS.split(), *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_rows(folder: Path, process: subprocess.Popen) -> None:
    """Until a run has trained a little."""
    metrics = folder / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_size > 5000):
        time.sleep(0.05)


def contend(folder: Path, apart: float, resumed: bool) -> dict[str, Any]:
    """What came of two starts. Raises AssertionError where both or neither of them ran."""
    more = ["resume=auto", "seed=0"] if resumed else ["seed=1"]
    first = start([f"run_dir={folder}", *(more if resumed else ["seed=0"])])
    time.sleep(apart)
    writers = [first, start([f"run_dir={folder}", *more])]
    while all(writer.poll() is None for writer in writers):
        time.sleep(0.05)
    loser = next(i for i, writer in enumerate(writers) if writer.returncode is not None)
    lost, won = writers[loser], writers[1 - loser]
    _, message = lost.communicate()
    wait_for_rows(folder, won)
    won.send_signal(signal.SIGTERM)
    _, said = won.communicate()
    assert lost.returncode == 2, (lost.returncode, message)
    assert message.startswith(f"error: run_dir={folder} is in use by process {won.pid} on "), (
        message
    )
    assert message.count("\n") == 1, message
    assert won.returncode == 128 + signal.SIGTERM, (won.returncode, said)
    rows, notes, _, summary = read_run(folder)
    assert summary["status"] == "interrupted" and notes == []
    seed = 0 if resumed else 1 - loser
    steps = [row["env_steps"] for row in rows if row["kind"] == "train"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    mixed = sum(row["seed"] != seed for row in lines) + len(lines) - len(rows)
    assert steps == [LOG_EVERY * (i + 1) for i in range(len(steps))] and mixed == 0
    assert [row for row in lines if row["kind"] == "train"] == [
        row for row in rows if row["kind"] == "train"
    ]
    return {"apart": round(apart, 2), "resumed": resumed, "ran": 2 - loser, "rows": len(lines)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=50)
    parser.add_argument("--apart", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chance, log = random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as scratch:
        for i in range(args.starts):
            apart, resumed = chance.uniform(0, args.apart), chance.random() < 0.5
            log.append(contend(Path(scratch) / str(i), apart, resumed))
            print(json.dumps(log[-1]), flush=True)
    second = sum(entry["ran"] == 2 for entry in log)
    print(json.dumps({"starts": len(log), "one_ran_one_refused": len(log), "second_ran": second}))
