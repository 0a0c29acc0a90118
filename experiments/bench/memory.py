"""Memory of training at equal settings: this project's against JaxMARL's ``qmix_rnn``.

    python experiments/bench/memory.py --scenario 2s3z [--run]

Bytes per stored transition are those of all arrays of the replay over the steps that it has room
for, windows times their length. What the compiled training program needs at once (state, replay,
results, temporaries) is what the compiler says, without running it. ``--run`` trains each side, in
a process of its own, past the filling of its replay: its largest resident memory, compiling
included, and on an accelerator the most memory in use there. The last line is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys

from settings import MPE, MPE_SCENARIOS, SMAX, Settings, avoid_deadlock

from knife_jax.config.scenarios import SMAX_SCENARIOS
from knife_jax.parallel import devices

ROUNDS = 2
"""in a call of either side"""


def main() -> None:
    args = _arguments()
    avoid_deadlock()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    base = MPE if args.scenario in MPE_SCENARIOS else SMAX
    settings = dataclasses.replace(base, buffer_windows=args.buffer_windows, hidden=args.hidden)
    devices.begin(1)
    if args.side:
        print(json.dumps(used(args.side, args.scenario, settings)))
        return
    from stepping import where

    sides: dict[str, dict[str, float]] = {
        "ours": our_memory(args.scenario, settings),
        "peer": peer_memory(args.scenario, settings),
    }
    for name, side in sides.items() if args.run else []:
        words = [sys.executable, __file__, *sys.argv[1:], "--side", name]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        side |= json.loads(done.stdout.splitlines()[-1])
    ratios = {key: round(value / sides["peer"][key], 3) for key, value in sides["ours"].items()}
    sides["ratio"] = ratios
    for name, side in sides.items():
        print(f"{name:6s}", ", ".join(f"{key} {value:,.4g}" for key, value in side.items()))
    record = {"benchmark": "memory", "scenario": args.scenario, "sides": sides}
    print(json.dumps({**record, "settings": dataclasses.asdict(settings), **where()}))


def our_memory(scenario: str, settings: Settings) -> dict[str, float]:
    """Of our replay and chunk, from shapes alone."""
    import jax
    from chunks import n_bytes, program_bytes
    from sides import our_config

    from knife_jax.builders.program import build

    config = dataclasses.replace(our_config(scenario, settings, ROUNDS), devices=1)
    program = build(config)
    ring, clock = n_bytes(program.shapes.replay), jax.eval_shape(program.clock)
    return _memory(ring, settings) | {
        "program_bytes": program_bytes(program.chunk.lower(program.shapes, clock).compile())
    }


def peer_memory(scenario: str, settings: Settings) -> dict[str, float]:
    """Of the peer's ring and loop, from shapes alone."""
    import jax
    import peer
    from chunks import n_bytes, program_bytes
    from sides import jaxmarl_env, one_seed, peer_program

    theirs = peer.build(jaxmarl_env(scenario), settings)
    state = jax.eval_shape(lambda: one_seed(theirs.init(jax.random.PRNGKey(0))))
    run = peer_program(theirs.round, ROUNDS).lower(state).compile()
    return _memory(n_bytes(state.ring), settings) | {"program_bytes": program_bytes(run)}


def _memory(ring: int, settings: Settings) -> dict[str, float]:
    rows = settings.buffer_windows * settings.window
    return {"bytes_per_transition": ring / rows, "replay_bytes": ring}


def used(side: str, scenario: str, settings: Settings) -> dict[str, int]:
    """The most memory that this process had after training."""
    import jax
    import sides

    if side == "ours":
        sides.our_side(scenario, settings, ROUNDS, 1)
    else:
        sides.peer_side(scenario, settings, ROUNDS, None)
    # Linux counts in KiB, macOS in bytes
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    stats = jax.local_devices()[0].memory_stats()
    return found | ({"device_bytes": stats["peak_bytes_in_use"]} if stats else {})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--scenario", default="2s3z", choices=(*SMAX_SCENARIOS, *MPE_SCENARIOS), metavar="NAME",
        help="an SMAX scenario, or mpe3, mpe6, mpe9 (default: 2s3z)",
    )  # fmt: skip
    parser.add_argument("--hidden", type=int, default=64, help="(default: 64)")
    parser.add_argument(
        "--buffer-windows", type=int, default=SMAX.buffer_windows,
        help=f"capacity of both replays (default: {SMAX.buffer_windows})",
    )  # fmt: skip
    parser.add_argument("--run", action="store_true", help="train each side, too")
    parser.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
