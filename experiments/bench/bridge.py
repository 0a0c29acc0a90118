"""What the callback bridge costs, against a Python loop with the same policy and the same games.

    python experiments/bench/bridge.py [--games 1,8,32] [--seconds 0.004] [--quick]

Processes that sleep for a step, as many as games. Three sides take turns, each with games of its
own: ``raw``, which only steps them with the same actions; ``loop``, a Python loop that calls a
compiled policy, then steps; ``bridge``, the trainer's own rollout, one program whose steps are
callbacks. The last line is JSON: medians of the milliseconds of a step, and of the ratios of
neighbouring turns.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sleeping_game import SIZES
from stepping import where

from knife_jax.builders.trainer import make_trainer
from knife_jax.cli import compose
from knife_jax.envs.base import EnvSpec, TimeStep
from knife_jax.envs.outside import outside
from knife_jax.envs.smacv2.group import Group
from knife_jax.envs.smacv2.pool import Pool
from knife_jax.training.exploration import epsilon_greedy
from knife_jax.training.rollout import rollout, start

STEPS = 100
"""of a turn"""


def group(n_games: int, seconds: float) -> Group:
    """Games that sleep, in processes of their own."""
    told = {"seconds": seconds, "path": [str(Path(__file__).parent)]}
    pool = Pool(n_games, SIZES, "sleeping_game:Sleeping", told, None, 60.0)

    def fail(reason: str) -> None:
        raise RuntimeError(reason)

    return Group(pool, 1, n_games, False, lambda *_, **__: None, fail, lambda: False)


def sides(n_games: int, seconds: float) -> dict[str, tuple[Group, Callable[[], None]]]:
    """What each side does in a turn, and its games."""
    groups = {name: group(n_games, seconds) for name in ("raw", "loop", "bridge")}
    env = outside(EnvSpec("sleeping", *SIZES, has_win=False), n_games, groups["bridge"], 0)
    config = compose([f"env.n_envs={n_games}", "algo=qmix"])
    trainer = make_trainer(config, env)
    patient = trainer.learner.init(jax.random.key(0))
    carry = trainer.learner.initial_carry(n_games)
    epsilon = jnp.float32(0.1)

    @jax.jit
    def choose(carry: Any, now: TimeStep, last_action: Any, key: Any) -> Any:
        carry, values = trainer.learner.act(patient.online, carry, now, last_action)
        return carry, epsilon_greedy(key, values, now.avail_actions, epsilon)

    @jax.jit
    def play(actor: Any, key: Any) -> Any:
        act = trainer.learner.act
        return rollout(env, act, patient.online, actor, epsilon, key, STEPS)[0]

    def reset(own: Group) -> Any:
        zero = np.zeros(1, np.int32)
        return own.reset(zero, zero - 1, zero, np.zeros((1, 2), np.uint32), zero)

    zero, keys = np.zeros(1, np.int32), jax.random.split(jax.random.key(1), STEPS)
    raw, loop = {"now": reset(groups["raw"])}, {"now": reset(groups["loop"]), "carry": carry}
    loop["action"] = np.full((n_games, SIZES.n_agents), -1, np.int32)
    bridge = {"actor": jax.jit(lambda key: start(env, carry, key))(jax.random.key(2))}

    def play_raw() -> None:
        action = np.zeros((1, n_games, SIZES.n_agents), np.int32)
        for _ in range(STEPS):
            raw["now"] = (zero, *groups["raw"].step(zero, zero, raw["now"][1], action))

    def play_loop() -> None:
        for key in keys:
            rows = TimeStep(*(leaf[0] for leaf in loop["now"][2]))
            loop["carry"], action = choose(loop["carry"], rows, loop["action"], key)
            loop["action"] = np.asarray(action)
            after = groups["loop"].step(zero, zero, loop["now"][1], loop["action"][None])
            loop["now"] = (zero, *after)

    def play_bridge() -> None:
        bridge["actor"] = jax.block_until_ready(play(bridge["actor"], jax.random.key(3)))

    plays = {"raw": play_raw, "loop": play_loop, "bridge": play_bridge}
    return {name: (groups[name], plays[name]) for name in groups}


def measured(n_games: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Milliseconds of a step of each side, in turns."""
    made = sides(n_games, seconds)
    times: dict[str, list[float]] = {name: [] for name in made}
    try:
        for number in range(rounds + 1):
            for name, (_, play) in made.items():
                began = time.perf_counter()
                play()
                if number:  # the first is for compiling
                    times[name].append(1000 * (time.perf_counter() - began) / STEPS)
    finally:
        for own, _ in made.values():
            own.pool.close()
    ratio = {
        f"bridge/{name}": round(
            median(a / b for a, b in zip(times["bridge"], times[name], strict=True)), 3
        )
        for name in ("loop", "raw")
    }
    return {"ms": {name: round(median(t), 2) for name, t in times.items()}, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--games", default="1,8,32", help="joined by commas (default: 1,8,32)")
    parser.add_argument("--seconds", type=float, default=0.004, help="of a step (default: 0.004)")
    parser.add_argument("--rounds", type=int, default=11, help="turns of each (default: 11)")
    parser.add_argument("--quick", action="store_true", help="one game, two turns")
    args = parser.parse_args()
    numbers = [1] if args.quick else [*map(int, args.games.split(","))]
    rounds = 2 if args.quick else args.rounds
    found = {n: measured(n, args.seconds, rounds) for n in numbers}
    record = {"benchmark": "bridge", "seconds": args.seconds, "rounds": rounds, "games": found}
    print(json.dumps({**record, **where()}))


if __name__ == "__main__":
    main()
