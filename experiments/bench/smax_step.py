"""Environment steps per second: the batched SMAX against JaxMARL's own auto-resetting step.

    python experiments/bench/smax_step.py --scenario 2s3z [--quick]

Both play uniformly random available actions, drawn by shared code from uniform numbers made before
the clock starts, and both deliver observations, world state, available actions, reward and end
flags at every step. They take turns, so that other load on the machine falls on both; compilation
is not timed. The last line is JSON: the median ratio, the rates, the machine.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from stepping import length, options, random_available, where

from knife_jax.envs.smax import batched_smax

Run = Callable[[jax.Array], Any]


def ours(scenario: str, n_envs: int, n_steps: int) -> Run:
    """`n_steps` steps of the batched environment under one jit."""
    env = batched_smax(scenario, n_envs)
    state, now = jax.jit(env.reset)(jax.random.key(1))

    @jax.jit
    def run(uniform):
        def body(carry, number):
            state, now = carry
            return env.step(state, random_available(number, now.avail_actions)), None

        return jax.lax.scan(body, (state, now), uniform)[0]

    return run


def theirs(scenario: str, n_envs: int, n_steps: int) -> Run:
    """JaxMARL's ``step`` in ``jit(vmap(scan))``, as its own speed test runs it."""
    from jaxmarl import make
    from jaxmarl.environments.smax import map_name_to_scenario

    env = make("HeuristicEnemySMAX", scenario=map_name_to_scenario(scenario))

    def available(state):
        avail_actions = env.get_avail_actions(state)
        return jnp.stack([avail_actions[agent] for agent in env.agents])

    obs, state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(1), n_envs))
    keys = jax.random.split(jax.random.key(2), n_envs)

    def run(key, obs, state, uniform):
        def body(carry, number):
            key, state, *_ = carry
            key, step_key = jax.random.split(key)
            action = random_available(number, available(state))
            actions = {agent: action[i] for i, agent in enumerate(env.agents)}
            obs, state, reward, done, _ = env.step(step_key, state, actions)
            return (key, state, obs, reward[env.agents[0]], done["__all__"]), None

        start = (key, state, obs, jnp.zeros(()), jnp.zeros((), bool))
        return jax.lax.scan(body, start, uniform)[0]

    whole = jax.jit(jax.vmap(run, in_axes=(0, 0, 0, 1)))
    return lambda uniform: whole(keys, obs, state, uniform)


def seconds(run: Run, uniform: jax.Array) -> float:
    """Wall time of one call, to the last array."""
    start = time.perf_counter()
    jax.block_until_ready(run(uniform))
    return time.perf_counter() - start


def main() -> None:
    parser = options(__doc__, n_envs=128, rounds=9)
    parser.add_argument("--scenario", default="2s3z")
    args = parser.parse_args()
    n_steps, rounds = length(args)
    n_agents = batched_smax(args.scenario, 1).spec.n_agents
    uniform = jax.random.uniform(jax.random.key(0), (n_steps, args.n_envs, n_agents))
    runs, compile_s = {}, {}
    for name, make_run in (("jaxmarl", theirs), ("batched", ours)):
        runs[name] = make_run(args.scenario, args.n_envs, n_steps)
        compile_s[name] = seconds(runs[name], uniform)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run, uniform))
    ratios = [a / b for a, b in zip(times["jaxmarl"], times["batched"], strict=True)]
    steps = n_steps * args.n_envs
    rates = {name: round(steps / statistics.median(each)) for name, each in times.items()}
    for name in runs:
        print(f"{name:8s} {rates[name]:>10,} env-steps/s   first call {compile_s[name]:.1f} s")
    result = {
        "benchmark": "smax_step",
        "scenario": args.scenario,
        "n_envs": args.n_envs,
        "ratio": round(statistics.median(ratios), 2),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
        "env_steps_per_s": rates,
        "first_call_s": {name: round(value, 2) for name, value in compile_s.items()},
        "rounds": rounds,
        **where(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
