"""Training time until a team plays well: a run of this project's, or JaxMARL's ``qmix_rnn`` or
``pqn_vdn_rnn``.

    python experiments/bench/time_to_win.py env=smax env.scenario=3m [--seeds 0,1,2]
    python experiments/bench/time_to_win.py --peer qmix_rnn --hidden 64 --lr 5e-4 env.scenario=3m
    python experiments/bench/time_to_win.py --peer pqn_vdn_rnn --hidden 64 env.scenario=3m

Trains one seed after the other and plays 256 greedy episodes every 20,480 environment steps, until
they reach ``--goal``: a win rate if there is one, else a return. The clock runs while training
runs, not while compiling or playing; both are reported beside it. The peers (``peer.py`` and
``peer_pqn.py``; SMAX alone) keep their published settings but for what is given here. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from settings import SMAX, PqnSettings, Settings

from knife_jax.cli import compose
from knife_jax.config.run import Config
from knife_jax.parallel import devices

PEERS = {"qmix_rnn": replace(SMAX, hidden=512, buffer_windows=4992), "pqn_vdn_rnn": PqnSettings()}
OF_PEERS = {
    "hidden": "width", "lr": "learning rate", "window": "steps between two phases of learning",
    "minibatches": "minibatches in an epoch, of pqn_vdn_rnn",
}  # fmt: skip

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
    if args.peer:
        settings = _settings(args)
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
    parser.add_argument("--peer", choices=PEERS, help="a learner of JaxMARL's instead of ours")
    for name, meaning in OF_PEERS.items():
        kind = float if name == "lr" else int
        parser.add_argument(f"--{name}", type=kind, help=f"the peer's {meaning} (default: its own)")
    return parser.parse_intermixed_args()


def _settings(args: argparse.Namespace) -> Settings | PqnSettings:
    given = {name: value for name in OF_PEERS if (value := getattr(args, name)) is not None}
    try:
        return replace(PEERS[args.peer], **given)
    except TypeError:
        sys.exit(f"--minibatches={args.minibatches} is refused: must be with --peer pqn_vdn_rnn")


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


def _peer(scenario: str, settings: Settings | PqnSettings) -> Contender:
    import jax
    from sides import jaxmarl_env

    env = jaxmarl_env(scenario)
    rounds = max(1, EVERY // settings.steps_per_round)
    if isinstance(settings, PqnSettings):
        init, round_, won = _pqn(env, settings)
    else:
        init, round_, won = _qmix(env, settings)

    def train(state):
        return jax.lax.scan(lambda s, _: (round_(s), None), state, None, rounds)[0]

    state = init(jax.random.PRNGKey(0))
    start = time.perf_counter()
    advance = jax.jit(train, donate_argnums=0).lower(state).compile()
    seconds = time.perf_counter() - start
    win_rate = jax.jit(lambda state, key: _win_rate(won(state, key), settings.reward_scale))
    return Contender(
        lambda seed: init(jax.random.PRNGKey(seed)),
        advance,
        lambda state: int(state.rounds) * settings.steps_per_round,
        lambda state, n: float(win_rate(state, jax.random.PRNGKey(n))),
        seconds,
    )


def _win_rate(rows: tuple[Any, Any], reward_scale: float) -> Any:
    """Of the rewards [T, E] of greedy play from a reset, and whether an episode had ended before.

    One window is longer than any episode; a win pays 1 more than all damage that can be done in a
    battle.
    """
    import jax.numpy as jnp

    reward, over = rows
    return jnp.mean(jnp.any((reward >= 0.999 * reward_scale) & ~over, axis=0))


def _qmix(env: Any, settings: Settings):
    import jax.numpy as jnp
    import peer

    theirs = peer.build(env, settings)
    judge = replace(settings, n_envs=EPISODES, window=SMAX.window, epsilon_end=0.0)
    greedy = peer.build(env, judge)

    def play(state, key):
        rows = greedy.rollout(state.online["agent"], settings.total_rounds, key)
        return rows.reward, jnp.cumsum(rows.all_done, axis=0) > 0

    return theirs.init, theirs.round, play


def _pqn(env: Any, settings: PqnSettings):
    import jax.numpy as jnp
    import peer_pqn

    theirs = peer_pqn.build(env, settings)
    greedy = peer_pqn.build(env, replace(settings, n_envs=EPISODES, window=SMAX.window)).greedy

    def play(state, key):
        rows = greedy(state.variables, key)
        done = rows.all_done[:, 0]
        return rows.reward[:, 0], jnp.cumsum(done, axis=0) > done

    return theirs.init, theirs.round, play


if __name__ == "__main__":
    main()
