"""Training time with plasticity methods against ``none``, in turns, in one process.

    python experiments/bench/surgery_cost.py --scenario 2s3z [--methods knife,redo]

Chunks of the default preset, on as many devices as a run gets. KNIFE's network grows with its open
graft slots, so each method is timed twice: early, when no surgery was due yet, and late, when so
many were due that all slots may be in use. Compilation and surgery itself (once in 100,000
environment steps by default) are not timed. The last line is JSON: medians of the ratios to
``none``.
"""

from __future__ import annotations

import argparse
import json

from knife_jax.cli import compose
from knife_jax.config.run import Config
from knife_jax.config.scenarios import SMAX_SCENARIOS
from knife_jax.parallel import devices

EARLY, LATE = 20_480, 409_600
"""environment steps at the beginning of the chunk: before the first surgery, after the third"""


def config(method: str, scenario: str) -> Config:
    """A run with the method, of one seed and in short chunks."""
    algo = "qmix" if method == "none" else f"qmix_{method}"
    return compose(["env=smax", f"env.scenario={scenario}", f"algo={algo}", "log_every=20480"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenario", default="2s3z", choices=SMAX_SCENARIOS, metavar="NAME")
    parser.add_argument("--methods", default="knife", help="joined by commas (default: knife)")
    parser.add_argument("--rounds", type=int, default=5, help="timed chunks of each (default: 5)")
    args = parser.parse_args()
    devices.begin(None)
    # jax may start now
    import jax
    from chunks import in_turns, ratios, trainer
    from stepping import where

    sides = {"none": trainer(config("none", args.scenario), EARLY)}
    for method in args.methods.split(","):
        for label, env_steps in (("early", EARLY), ("late", LATE)):
            sides[f"{method} {label}"] = trainer(config(method, args.scenario), env_steps)
    seconds = in_turns(sides, args.rounds)
    record = {"benchmark": "surgery_cost", "scenario": args.scenario}
    record |= {"ratio": ratios(seconds, "none"), "seconds": seconds}
    record |= {"devices": jax.device_count(), "rounds": args.rounds}
    print(json.dumps({**record, **where()}))


if __name__ == "__main__":
    main()
