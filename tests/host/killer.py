"""Kill training at random moments: ``resume=auto`` must end where an undisturbed run ends.

    python tests/host/killer.py [--kills 50] [--seed 0]

A small run (SMAX, KNIFE, one seed over two devices, a checkpoint after every chunk) is started with
``resume=auto`` and sent SIGKILL at a random moment, while it starts, trains or saves; again and
again until it is through. Its end state, leaf by leaf, and its metrics must then be those of the
run that nobody disturbed: a single wrong resumption would show. The last line of the output is
JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forks import Fork, Forks
from stored import end_of

ROOT = Path(__file__).parents[2]
WORDS = """
env=smax env.n_envs=14 devices=2 algo=vdn_knife algo.hidden=13 algo.window=5
algo.batch_size=34 algo.buffer_size=2030 algo.updates_per_round=3
algo.learning_starts=105 algo.target_period=20 plasticity.interval=300 plasticity.window=10
plasticity.threshold=0.8 log_every=200 evaluation.every=2000 evaluation.episodes=7
checkpoint.every=200 recording.episodes=0 logger.wandb=disabled logger.table=false
"""
STARTING = 0.2
"""share of the kills that come while the program starts"""
MOST_SECONDS = 1.5
"""latest kill after the first chunk of a life"""


class Runs:
    """Starts of one run in a folder, with compiled programs kept between them; of ``program``, as
    ``forks`` if these are given."""

    def __init__(
        self,
        words: list[str],
        cache: Path,
        forks: Forks | None = None,
        program: Sequence[str] = ("-m", "knife_jax.train"),
    ) -> None:
        self.words, self.forks = [*program, *words, "resume=auto"], forks
        self.env = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
            "JAX_PLATFORMS": "cpu",
            "XDG_CACHE_HOME": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }

    def start(self, folder: Path) -> subprocess.Popen | Fork:
        words = [*self.words, f"run_dir={folder}"]
        if self.forks is not None:
            return self.forks.start(["python", *words], env=self.env)
        return subprocess.Popen([sys.executable, *words], env=self.env, stdout=subprocess.DEVNULL)

    def undisturbed(self, folder: Path) -> float:
        """The seconds until the first chunk of a run that is left alone."""
        process, began = self.start(folder), time.monotonic()
        wait_for_rows(folder, process, 0)
        first = time.monotonic() - began
        assert process.wait() == 0
        return first


def wait_for_rows(folder: Path, process: subprocess.Popen | Fork, known: int) -> None:
    """Until the metrics differ in length from what they were, or the process has ended."""
    metrics = folder / "metrics.jsonl"
    while process.poll() is None:
        if metrics.exists() and metrics.stat().st_size > known:
            return
        time.sleep(0.005)


def committed(folder: Path) -> tuple[int, int]:
    """The newest committed step, and how many are half written."""
    names = [path.name for path in (folder / "checkpoints").glob("*")]
    return max((int(n) for n in names if n.isdigit()), default=0), sum("tmp" in n for n in names)


def kill_at_random(
    runs: Runs, calm: Path, startup: float, kills: int, seed: int, scratch: Path
) -> list[dict[str, Any]]:
    """What each kill interrupted. Raises AssertionError if an end state differs from that of the
    undisturbed run in ``calm``, which took ``startup`` seconds until its first chunk."""
    chance, expected = random.Random(seed), end_of(calm)
    log: list[dict[str, Any]] = []
    while len(log) < kills:
        victim, through = scratch / f"victim{len(log)}", False
        while not through:
            metrics = victim / "metrics.jsonl"
            process = runs.start(victim)
            if len(log) < kills:
                if chance.random() < STARTING:
                    time.sleep(chance.uniform(0.0, startup))
                else:
                    # the metrics are first cut back to those of the checkpoint
                    known = metrics.stat().st_size if metrics.exists() else 0
                    wait_for_rows(victim, process, known)
                    time.sleep(chance.uniform(0.0, MOST_SECONDS))
                process.kill()
            code = process.wait()
            through = code == 0
            if not through:
                assert code == -9, f"the run ended with {code}"
                step, torn = committed(victim)
                log.append({"kill": len(log) + 1, "committed": step, "half_written": torn})
                print(json.dumps(log[-1]), flush=True)
        assert end_of(victim) == expected, f"{victim} ended differently"
    return log


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--env-steps", type=int, default=20_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        runs = Runs([*WORDS.split(), f"env_steps={args.env_steps}"], scratch / "cache")
        startup = runs.undisturbed(scratch / "calm")
        survived = kill_at_random(runs, scratch / "calm", startup, args.kills, args.seed, scratch)
    torn = sum(entry["half_written"] > 0 for entry in survived)
    print(json.dumps({"kills": len(survived), "survived": len(survived), "while_saving": torn}))
