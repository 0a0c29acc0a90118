"""Environment steps per second: the grid predator-prey against the same rules in plain NumPy.

    python experiments/bench/grid_step.py --scenario punish [--quick]

The NumPy side is tests/golden/grid_rules.py, one game at a time as the public implementations
are; the other plays many games under one jit. Both play uniformly random available actions and
deliver observations, state, available actions, reward and end flags at every step. They take turns;
compilation is not timed. The last line is JSON: the median ratio, the rates, the machine.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "golden"))
from grid_rules import StagHunt  # pyright: ignore[reportMissingImports]
from stepping import length, options, random_play, where

from knife_jax.config.grid_games import SCENARIOS, Game
from knife_jax.envs.grid_predator_prey import grid_predator_prey


def numpy_steps(game: Game, n_steps: int) -> Callable[[], None]:
    """``n_steps`` steps of one game after another in NumPy."""
    rng = np.random.default_rng(0)
    rules = StagHunt(**game._asdict())
    n_prey = len(rules.species)

    def start() -> None:
        flat = rng.permutation(game.size**2)[: game.population]
        rules.reset(list(zip(*np.divmod(flat, game.size), strict=True)))

    start()

    def run() -> None:
        for _ in range(n_steps):
            avail_actions = rules.avail_actions()
            action = (rng.random(avail_actions.shape) * avail_actions).argmax(1)
            orders = rng.permutation(game.n_agents), rng.permutation(n_prey)
            _, terminated, stopped = rules.step(action, *orders, *rng.random((2, n_prey)))
            rules.observations()
            rules.state()
            if terminated or stopped:
                start()

    return run


def jax_steps(game: Game, n_envs: int, n_steps: int) -> Callable[[], None]:
    """``n_steps`` steps of ``n_envs`` games under one jit."""
    return random_play(grid_predator_prey(game, n_envs), n_steps)


def seconds(run: Callable[[], None]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = options(__doc__, n_envs=512, rounds=9)
    parser.add_argument("--scenario", default="punish", choices=SCENARIOS)
    args = parser.parse_args()
    n_steps, rounds = length(args)
    game = SCENARIOS[args.scenario]
    runs = {
        "numpy": (numpy_steps(game, n_steps), n_steps),
        "jax": (jax_steps(game, args.n_envs, n_steps), n_steps * args.n_envs),
    }
    first_call = {name: seconds(run) for name, (run, _) in runs.items()}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (run, steps) in runs.items():
            rates[name].append(steps / seconds(run))
    ratios = [b / a for a, b in zip(rates["numpy"], rates["jax"], strict=True)]
    medians = {name: round(statistics.median(each)) for name, each in rates.items()}
    for name in runs:
        print(f"{name:6s} {medians[name]:>9,} env-steps/s   first call {first_call[name]:.1f} s")
    result = {
        "benchmark": "grid_step",
        "scenario": args.scenario,
        "n_envs": args.n_envs,
        "ratio": round(statistics.median(ratios), 1),
        "ratio_min": round(min(ratios), 1),
        "ratio_max": round(max(ratios), 1),
        "env_steps_per_s": medians,
        "rounds": rounds,
        **where(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
