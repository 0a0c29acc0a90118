"""A run of games with faults, held to the games' own log.

    python tests/starcraft/faults.py [--steps 20000] [--faults 0.012]

Two seeds of three games in NumPy are trained while their processes raise, exit, are killed, hang,
send garbage and close their connection. All windows are kept, and looked through at the end: a
transition that touches a fault and counts as valid would show as a jump in time or to another
episode. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import guessing  # noqa: E402, F401  (adds its environments)
import jax  # noqa: E402
from numpy_games import KINDS  # noqa: E402

from knife_jax.builders.program import build  # noqa: E402
from knife_jax.cli.compose import compose  # noqa: E402
from knife_jax.training.replay import unpack  # noqa: E402

WINDOW = 6


def train(steps: int, faults: float, folder: Path) -> dict[str, Any]:
    """Train, and compare windows and reports with the log. Raises AssertionError if they differ."""
    settings = json.dumps(json.dumps({"faults": faults, "kinds": KINDS}))
    words = (
        f"env=guessing preset=fast algo=vdn algo.hidden=8 num_seeds=2 "
        f"algo.window={WINDOW} algo.batch_size=8 algo.learning_starts=100 devices=1 "
        f"algo.buffer_size={3 * (steps // (3 * WINDOW) + 2)} algo.updates_per_round=1 "
        f"env_steps={steps} log_every={min(steps, 600)} games.watchdog=0.5"
    ).split()
    config = compose([*words, f"env.settings={settings}"], str(HERE / "configs"))
    program, seen, losses = build(config), Counter(), []
    assert program.games is not None
    program.games.open(config, folder)
    try:
        state, clock = program.place(program.init([0, 1]), program.clock())
        while int(clock.rounds) < program.budget.rounds:
            state, clock, metrics = program.chunk(state, clock)
            losses += np.asarray(metrics["train"]["loss"]).tolist()
            program.games.check()
            for name, counts in program.games.report().items():
                for seed in range(2):
                    seen[seed, name] += counts[seed]
    finally:
        program.games.close()
    events = [json.loads(line) for line in (folder / "games.jsonl").read_text().splitlines()]
    logged = Counter((event["seat"], event["event"]) for event in events)
    names = {"fault": "games_faults", "restarted": "games_restarted", "broken": "games_broken"}
    for (seed, name), n in {(s, n): seen[s, r] for s in range(2) for n, r in names.items()}.items():
        assert logged[seed, name] == n, (seed, name, logged[seed, name], n)
    rounds = int(clock.rounds)
    for seed in range(2):
        ring = unpack(jax.tree.map(lambda leaf, s=seed: leaf[s], state.replay))
        check(jax.device_get(ring), 3 * rounds, logged[seed, "broken"])
    assert np.isfinite([loss for loss in losses if not np.isnan(loss)]).all()
    return {
        "env_steps": rounds * program.round_steps, "seeds": 2,
        "faults": sum(logged[s, "fault"] for s in range(2)),
        "broken": sum(logged[s, "broken"] for s in range(2)), "wrongly_valid": 0,
        "loss": round(losses[-1], 6),
    }  # fmt: skip


def check(windows: Any, n: int, broken: int) -> None:
    """No valid transition of the first ``n`` windows leaves an episode, and as many break off as
    the log says."""
    numbers = np.asarray(windows.state)[:, :n]
    secret, moment = np.round(1000 * numbers[..., 0]), np.round(10 * numbers[..., 1])
    goes_on = (secret[1:] == secret[:-1]) & (moment[1:] == moment[:-1] + 1)
    valid, last = np.asarray(windows.valid)[:, :n], moment == 4 + secret % 6
    assert (valid == goes_on).all(), "a valid transition leaves its episode"
    assert not valid[last[:-1]].any()
    assert (~valid & ~last[:-1]).sum() == broken


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--faults", type=float, default=0.012)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(train(args.steps, args.faults, Path(scratch))))
