"""Training time with plasticity methods against ``none``, in turns, in one process.

    python experiments/bench/surgery_cost.py --scenario 2s3z [--methods knife,redo]

Chunks of the default preset. KNIFE's network grows with its open graft slots, so each method is
timed twice: early, when no surgery was due yet, and late, when so many were due that all slots may
be in use. Compilation and surgery itself (once in 100,000 environment steps by default) are not
timed. The last line is JSON: medians of the ratios to ``none``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from stepping import where

from knife_jax.build import build
from knife_jax.cli import compose
from knife_jax.envs.names import SMAX_SCENARIOS

EARLY, LATE = 20_480, 409_600
"""environment steps of the Clock at the first chunk: before the first surgery, after the third"""


def trainer(method: str, scenario: str, env_steps: int) -> Callable[[], float]:
    """Trains a chunk from there, and says how many seconds it took."""
    algo = "qmix" if method == "none" else f"qmix_{method}"
    words = ["env=smax", f"env.scenario={scenario}", f"algo={algo}", "log_every=20480"]
    program = build(compose([*words, "num_seeds=1"]))
    begun = program.clock()._replace(env_steps=jnp.int32(env_steps))
    state, clock = program.place(program.init([0]), begun)
    run = program.chunk.lower(state, clock).compile()
    at = [state]

    def advance() -> float:
        start = time.perf_counter()
        at[0], _, metrics = run(at[0], clock)  # always the same chunk of the run
        jax.block_until_ready(metrics)
        return time.perf_counter() - start

    advance()
    return advance


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenario", default="2s3z", choices=SMAX_SCENARIOS, metavar="NAME")
    parser.add_argument("--methods", default="knife", help="joined by commas (default: knife)")
    parser.add_argument("--rounds", type=int, default=5, help="timed chunks of each (default: 5)")
    args = parser.parse_args()
    sides = {"none": trainer("none", args.scenario, EARLY)}
    for method in args.methods.split(","):
        for label, env_steps in (("early", EARLY), ("late", LATE)):
            sides[f"{method} {label}"] = trainer(method, args.scenario, env_steps)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, advance in sides.items():
            seconds[name].append(advance())
    ratios = {
        name: round(statistics.median(a / b for a, b in zip(each, seconds["none"], strict=True)), 3)
        for name, each in seconds.items()
    }
    for name, ratio in ratios.items():
        print(f"{name:24s} {statistics.median(seconds[name]):8.2f} s a chunk, {ratio:.3f} x none")
    record = {"benchmark": "surgery_cost", "scenario": args.scenario, "ratio": ratios}
    print(json.dumps({**record, "seconds": seconds, "rounds": args.rounds, **where()}))


if __name__ == "__main__":
    main()
