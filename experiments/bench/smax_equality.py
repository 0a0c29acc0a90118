"""Is the batched SMAX JaxMARL's SMAX? Single steps from the same states, then whole episodes.

    python experiments/bench/smax_equality.py [--quick] [--scenarios 3m,2s3z] [--episodes 2s3z]

Steps: along JaxMARL rollouts of every scenario, one step of both from the same state with the same
random numbers; a *tie* is a step in which any quantity differs by more than 1e-3, because a
comparison of nearly equal numbers fell the other way. Episodes: a fixed policy (every unit shoots
the first enemy in reach, else walks east) plays both environments, each with its own random
numbers; return, length and win rate are compared over the first episodes of every environment.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import ks_2samp

from knife_jax.config.scenarios import SMAX_SCENARIOS
from knife_jax.envs.base import VecEnv, vectorise
from knife_jax.envs.smax import batched_smax, load_rules
from knife_jax.envs.smax.jaxmarl import smax
from knife_jax.envs.smax.parity import compare

TIE = 1e-3
EAST, STOP = 1, 4


def steps_report(scenario: str, n_envs: int, n_steps: int) -> dict:
    """Ties among `n_envs` x `n_steps` steps, and the largest differences elsewhere."""
    gaps = jax.device_get(compare(scenario, n_envs, n_steps, jax.random.key(5)))
    tied = np.any([gap > TIE for gap in gaps.values()], axis=0)
    largest = {name: float(f"{gap[~tied].max():.2g}") for name, gap in gaps.items()}
    return {
        "unit_steps": tied.size * load_rules(scenario).n_units,
        "steps": tied.size,
        "ties": int(tied.sum()),
        "tied_in": sorted(name for name, gap in gaps.items() if (gap > TIE).any()),
        "largest": {name: gap for name, gap in largest.items() if gap > 0},
    }


def first_episodes(env: VecEnv, per_env: int, key: jax.Array) -> dict[str, np.ndarray]:
    """Return, length and win of the first `per_env` episodes of every environment."""

    @jax.jit
    def play(key):
        def body(carry, _):
            state, row, total, length = carry
            attack = row.avail_actions.at[..., : STOP + 1].set(False)
            move = jnp.where(row.avail_actions[..., EAST], EAST, STOP)
            action = jnp.where(attack.any(-1), jnp.argmax(attack, -1), move)
            state, row = env.step(state, action)
            total = jnp.where(row.first, 0.0, total + row.reward)
            length = jnp.where(row.first, 0, length + 1)
            return (state, row, total, length), (row.last, total, length, row.won)

        state, row = env.reset(key)
        start = (state, row, jnp.zeros(env.n_envs), jnp.zeros(env.n_envs, jnp.int32))
        return jax.lax.scan(body, start, None, per_env * (env.spec.horizon + 1))[1]

    last, *values = jax.device_get(play(key))
    counted = last & (np.cumsum(last, axis=0) <= per_env)
    return {
        name: each[counted].astype(np.float64)
        for name, each in zip(("return", "length", "won"), values, strict=True)
    }


def episodes_report(scenario: str, n_envs: int, per_env: int) -> dict:
    """Means of both with standard errors, their distance in those, and Kolmogorov-Smirnov tests."""
    theirs = first_episodes(vectorise(smax(scenario), n_envs), per_env, jax.random.key(1))
    ours = first_episodes(batched_smax(scenario, n_envs), per_env, jax.random.key(2))
    report: dict = {"episodes_each": len(ours["won"])}
    for name, mine in ours.items():
        true = theirs[name]
        test: Any = ks_2samp(mine, true)
        errors = [each.std() / np.sqrt(each.size) for each in (mine, true)]
        report[name] = {
            "ours": [round(float(mine.mean()), 4), round(float(errors[0]), 4)],
            "jaxmarl": [round(float(true.mean()), 4), round(float(errors[1]), 4)],
            "z": round(float((mine.mean() - true.mean()) / max(np.hypot(*errors), 1e-12)), 2),
            "ks_p": round(float(test.pvalue), 3),
        }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenarios", default=",".join(SMAX_SCENARIOS))
    parser.add_argument("--episodes", default="3m,2s3z,smacv2_5_units")
    parser.add_argument("--n-envs", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="few steps and 300 episodes")
    args = parser.parse_args()
    n_steps, per_env, episode_envs = (20, 3, 100) if args.quick else (args.steps, 5, 4096)
    result: dict = {"benchmark": "smax_equality", "steps": {}, "episodes": {}}
    for kind, names in (("steps", args.scenarios), ("episodes", args.episodes)):
        for scenario in filter(None, names.split(",")):
            start = time.perf_counter()
            if kind == "steps":
                report = steps_report(scenario, args.n_envs, n_steps)
            else:
                report = episodes_report(scenario, episode_envs, per_env)
            result[kind][scenario] = report
            print(f"{scenario} ({time.perf_counter() - start:.0f} s): {json.dumps(report)}")
    for count in ("unit_steps", "steps", "ties"):
        result[f"all_{count}"] = sum(each[count] for each in result["steps"].values())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
