"""Training time until a team plays well: this project's default run, or JaxMARL's ``qmix_rnn``.

    python experiments/bench/time_to_win.py env=smax env.scenario=3m [--seeds 0,1,2]
    python experiments/bench/time_to_win.py --peer --hidden 64 --lr 5e-4 env.scenario=3m

Trains one seed after the other and plays 256 greedy episodes every 20,480 environment steps, until
they reach ``--goal``: a win rate if there is one, else a return. The clock runs while training
runs, not while compiling or playing; both are reported beside it. The peer (``peer.py``; SMAX
alone) keeps its published settings but for what is given here. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from settings import SMAX, Settings

from knife_jax.cli import compose
from knife_jax.config.run import Config
from knife_jax.parallel import devices

EVERY = 20_480
EPISODES = 256


class Contender(NamedTuple):
    """One way to train, compiled."""

    init: Callable[[int], Any]
    """seed -> state"""
    advance: Callable[[Any], Any]
    """state after EVERY more environment steps, or a few more to whole rounds"""
    env_steps: Callable[[Any], int]
    score: Callable[[Any, int], float]
    """(state, a number to draw from) -> mean over EPISODES greedy episodes"""
    compile_seconds: float


def main() -> None:
    args = _arguments()
    devices.begin(1 if args.peer else None)
    # jax may start now
    from stepping import where

    config = compose([*args.words, f"log_every={EVERY}", f"evaluation.episodes={EPISODES}"])
    settings = replace(SMAX, hidden=args.hidden, lr=args.lr, buffer_windows=4992)
    if args.peer:
        contender, named = _peer(config.env.arguments()["scenario"], settings), asdict(settings)
    else:
        contender, named = _ours(config), args.words
    runs = [_run(contender, seed, args) for seed in map(int, args.seeds.split(","))]
    record = {
        "benchmark": "time_to_win", "peer": args.peer, "settings": named, "goal": args.goal,
        "compile_seconds": contender.compile_seconds, "runs": runs, **where(),
    }  # fmt: skip
    print(json.dumps(record))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="field=value, as for knife_jax.train")
    parser.add_argument("--seeds", default="0,1,2", help="joined by commas (default: 0,1,2)")
    parser.add_argument("--goal", type=float, default=0.8, help="win rate or return (default: 0.8)")
    parser.add_argument(
        "--limit", type=float, default=1800, help="seconds of training at most (default: 1800)"
    )
    parser.add_argument("--peer", action="store_true", help="JaxMARL's learner instead of ours")
    parser.add_argument("--hidden", type=int, default=512, help="the peer's width (default: 512)")
    parser.add_argument(
        "--lr", type=float, default=SMAX.lr, help=f"its learning rate (default: {SMAX.lr})"
    )
    return parser.parse_intermixed_args()


def _run(contender: Contender, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    import jax

    state, seconds, cpu, steps, scores = contender.init(seed), 0.0, 0.0, 0, []
    while seconds < args.limit and (not scores or scores[-1] < args.goal):
        start = time.perf_counter(), time.process_time()
        state = jax.block_until_ready(contender.advance(state))
        seconds += time.perf_counter() - start[0]
        cpu += time.process_time() - start[1]
        steps = contender.env_steps(state)
        scores.append(round(contender.score(state, steps), 4))
        print(f"seed {seed}: {steps:,} env steps in {seconds:.1f} s: {scores[-1]}", flush=True)
    return {
        "seed": seed, "reached": scores[-1] >= args.goal, "env_steps": steps,
        "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "scores": scores,
    }  # fmt: skip


def _ours(config: Config) -> Contender:
    import jax
    import numpy as np
    from chunks import endless

    from knife_jax.builders.program import build

    program = build(config)
    begun = program.place(program.init([0]), endless(program))
    start = time.perf_counter()
    chunk = program.chunk.lower(*begun).compile()
    seconds = time.perf_counter() - start

    def score(state: Any, number: int) -> float:
        episodes = program.evaluate(state[0], jax.random.key(number)[None], 0)
        return float(np.mean(episodes.won if program.spec.has_win else episodes.returns))

    return Contender(
        lambda seed: program.place(program.init([seed]), endless(program)),
        lambda state: chunk(*state)[:2],
        lambda state: int(state[1].rounds) * program.round_steps,
        score,
        seconds,
    )


def _peer(scenario: str, settings: Settings) -> Contender:
    import jax
    import jax.numpy as jnp
    import peer
    from sides import jaxmarl_env

    env = jaxmarl_env(scenario)
    theirs = peer.build(env, settings)
    rounds = EVERY // settings.steps_per_round
    # one window from a reset is longer than any episode
    greedy = peer.build(env, replace(settings, n_envs=EPISODES, epsilon_end=0.0))

    @jax.jit
    def win_rate(params, key):
        rows = greedy.rollout(params, settings.total_rounds, key)
        # a win pays 1 more than all damage that can be done in a battle
        first = jnp.cumsum(rows.all_done, axis=0) == 0
        won = (rows.reward >= 0.999 * settings.reward_scale) & first
        return jnp.mean(jnp.any(won, axis=0))

    def train(state):
        return jax.lax.scan(lambda s, _: (theirs.round(s), None), state, None, rounds)[0]

    state = theirs.init(jax.random.PRNGKey(0))
    start = time.perf_counter()
    advance = jax.jit(train, donate_argnums=0).lower(state).compile()
    seconds = time.perf_counter() - start
    return Contender(
        lambda seed: theirs.init(jax.random.PRNGKey(seed)),
        advance,
        lambda state: int(state.rounds) * settings.steps_per_round,
        lambda state, n: float(win_rate(state.online["agent"], jax.random.PRNGKey(n))),
        seconds,
    )


if __name__ == "__main__":
    main()
