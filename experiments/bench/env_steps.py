"""Environment steps per second of every environment, under one jit with random legal actions.

    python experiments/bench/env_steps.py [--quick] [--n-envs 128]

Observations, state, legal actions, reward and end flags are made at every step; compilation is not
timed. The last line is JSON: the median rates and their ranges, the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time

import jax
from smax_step import random_legal

from knife_jax.cli import compose
from knife_jax.make_env import make_tasks

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
    env = make_tasks(compose(f"env={words}".split()).env).env(0, n_envs)
    start = jax.jit(env.reset)(jax.random.key(1))
    uniform = jax.random.uniform(jax.random.key(0), (n_steps, n_envs, env.spec.n_agents))

    @jax.jit
    def steps(start, uniform):
        def body(carry, number):
            state, now = carry
            return env.step(state, random_legal(number, now.legal)), None

        return jax.lax.scan(body, start, uniform)[0]

    jax.block_until_ready(steps(start, uniform))
    measured = []
    for _ in range(rounds):
        began = time.perf_counter()
        jax.block_until_ready(steps(start, uniform))
        measured.append(n_steps * n_envs / (time.perf_counter() - began))
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n-envs", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200, help="steps in one timed run")
    parser.add_argument("--rounds", type=int, default=7, help="timed runs of each")
    parser.add_argument("--quick", action="store_true", help="50 steps, 3 rounds")
    args = parser.parse_args()
    n_steps, rounds = (50, 3) if args.quick else (args.steps, args.rounds)
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
        "backend": jax.default_backend(),
        "cpus": os.cpu_count(),
        "jax": jax.__version__,
        "machine": platform.machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
