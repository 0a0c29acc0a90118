"""How long a run is waited for, from Enter to the end of its first chunk of training.

    python experiments/bench/start_up.py [env=smax algo=qmix_knife ...] [--times 1]

Words are those of ``knife_jax.train``, which is run in a process of its own: cold, with nothing in
the cache of compiled programs, then with what that run has left there. Each line that it prints is
shown with the seconds since its start, by the clock and of all processors; it is stopped at the
first chunk's. The last line is JSON. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stepping import where

TRAINED = " env steps/s"
"""is in the line of a chunk"""


def processor_seconds(pid: int) -> float:
    """Of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def started(words: list[str], cache: str) -> dict[str, float]:
    """Run until the first chunk is trained, and show what is said and when."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "knife_jax.train", *words, f"run_dir={folder}/run"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"XDG_CACHE_HOME": cache},
        )  # fmt: skip
        for line in process.stdout or ():
            wall, cpu = time.perf_counter() - begun, processor_seconds(process.pid)
            print(f"{wall:7.1f} s {cpu:7.1f} s of processors  {line.rstrip()}", flush=True)
            if TRAINED in line:
                process.kill()
                process.wait()
                return {"seconds": round(wall, 1), "processor_seconds": round(cpu, 1)}
    sys.exit("it ended before its first chunk did")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="field=value, as for knife_jax.train")
    parser.add_argument("--times", type=int, default=1, help="how often both are run, in turns")
    args = parser.parse_intermixed_args()
    found: dict[str, list] = {"cold": [], "cached": []}
    for _ in range(args.times):
        with tempfile.TemporaryDirectory() as cache:
            for name, each in found.items():
                print(f"{name}:")
                each.append(started(args.words, cache))
    print(json.dumps({"benchmark": "start_up", "words": args.words, **found, **where()}))


if __name__ == "__main__":
    main()
