"""Environment steps per second of every environment, under one jit with random available actions.

    python experiments/bench/env_steps.py [--quick] [--n-envs 128]

Observations, state, available actions, reward and end flags are made at every step; compilation is
not timed. The last line is JSON: the median rates and their ranges, the machine.
"""

from __future__ import annotations

import json
import statistics
import time

from stepping import length, options, random_play, where

from knife_jax.builders.envs import make_tasks
from knife_jax.cli import compose

ENVIRONMENTS = (
    "smax env.scenario=3m",
    "smax env.scenario=2s3z",
    "smax env.scenario=zerg_5_vs_5",
    "smax env.scenario=terran_10_vs_11",
    "mpe_predator_prey",
    "mpe_predator_prey env.n_predators=9",
    "grid_predator_prey env.scenario=small",
    "grid_predator_prey env.scenario=punish",
    "grid_predator_prey env.scenario=gradps_small",
    "grid_predator_prey env.scenario=gradps_large",
    "grid_predator_prey env.scenario=reborn_small",
    "grid_predator_prey env.scenario=reborn_large",
    "matrix_game env.scenario=qtran",
    "matrix_game env.scenario=n_step",
    "matrix_game env.scenario=gaussian_squeeze",
    "seq_grid_predator_prey",
    "seq_matrix",
    "seq_mpe_predator_prey",
    "seq_smax",
)


def rates(words: str, n_envs: int, n_steps: int, rounds: int) -> list[float]:
    """Steps per second of an environment, run by run."""
    play = random_play(make_tasks(compose(f"env={words}".split()).env, [0]).env(0, n_envs), n_steps)
    play()
    measured = []
    for _ in range(rounds):
        began = time.perf_counter()
        play()
        measured.append(n_steps * n_envs / (time.perf_counter() - began))
    return measured


def main() -> None:
    parser = options(__doc__, n_envs=128, rounds=7)
    args = parser.parse_args()
    n_steps, rounds = length(args)
    table = {}
    for words in ENVIRONMENTS:
        measured = rates(words, args.n_envs, n_steps, rounds)
        low, middle, high = min(measured), statistics.median(measured), max(measured)
        table[words] = [round(value) for value in (middle, low, high)]
        print(f"{words:46s} {middle:>12,.0f} env-steps/s ({low:,.0f} to {high:,.0f})", flush=True)
    result = {
        "benchmark": "env_steps",
        "n_envs": args.n_envs,
        "env_steps_per_s": table,
        "rounds": rounds,
        **where(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
