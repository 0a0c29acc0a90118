"""Training time of one seed over more and more devices, in turns, in one process.

    python experiments/bench/split.py [--devices 1,2] [env=mpe_predator_prey algo=qmix ...]

Words are those of ``knife_jax.train``; chunks of 20,480 environment steps that learn in every
round. On a CPU the devices are cores. The last line is JSON: medians of the ratios to the first
number of devices.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

from knife_jax.cli import compose
from knife_jax.parallel import devices


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="field=value, as for knife_jax.train")
    parser.add_argument("--devices", default="1,2", help="joined by commas (default: 1,2)")
    parser.add_argument("--rounds", type=int, default=5, help="timed chunks of each (default: 5)")
    args = parser.parse_intermixed_args()
    counts = [int(n) for n in args.devices.split(",")]
    devices.begin(max(counts))
    # jax may start now
    from chunks import in_turns, ratios, trainer
    from stepping import where

    config = compose([*args.words, "log_every=20480"])
    begin = config.algo.learning_starts + 1
    sides = {f"{n} devices": trainer(replace(config, devices=n), begin) for n in counts}
    seconds = in_turns(sides, args.rounds)
    record = {"benchmark": "split", "words": args.words}
    record |= {"ratio": ratios(seconds, f"{counts[0]} devices"), "seconds": seconds}
    print(json.dumps({**record, "rounds": args.rounds, **where()}))


if __name__ == "__main__":
    main()
