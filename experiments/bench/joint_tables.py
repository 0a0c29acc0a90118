"""What each algorithm makes of a matrix game under full exploration: learned joint-action tables.

    python experiments/bench/joint_tables.py [--game qtran] [--seeds 10] [--steps 100000] [ALGO ...]

All seeds of an algorithm are one program. ALGO is a name, with fields of its own after colons:
``wqmix:weighting=ow``. The last line is one JSON object.
"""

import argparse
import json
from collections import Counter

import jax
import numpy as np

import knife_jax

ALGOS = (
    "iql", "vdn", "qmix", "dmix", "qplex:heads=10:layers=3", "wqmix:weighting=ow:central=32",
    "wqmix:weighting=cw:central=32", "resq:central=32",
)  # fmt: skip
WORDS = (
    "env=matrix_game", "preset=continual", "env.n_envs=32", "algo.hidden=32", "algo.embed=32",
    "algo.hyper_hidden=32", "algo.window=2", "algo.batch_size=64", "algo.buffer_size=2048",
    "algo.updates_per_round=4", "algo.learning_starts=1024", "algo.target_period=50",
    "algo.epsilon_start=1", "algo.epsilon_end=1", "probes.every=0",
)  # fmt: skip
"""every joint action is equally likely throughout; two steps are one game and its end"""


def learnt(algo: str, game: str, seeds: int, steps: int) -> dict:
    """Train one algorithm; its tables [S, A, A], and what its greedy agents then do."""
    name, *fields = algo.split(":")
    config = knife_jax.compose(
        *WORDS, f"algo={name}", *(f"algo.{field}" for field in fields), f"env.scenario={game}",
        f"num_seeds={seeds}", f"env_steps={steps}", f"log_every={steps}",
        f"evaluation.every={steps}",
    )  # fmt: skip
    program = knife_jax.build(config)
    if program.joint_values is None or program.optimum is None:
        raise SystemExit(f"--game {game} is refused: its joint actions are too many for a table")
    state, clock = program.place(program.init(range(seeds)), program.clock())
    while clock.rounds < clock.budget:
        state, clock, _ = program.chunk(state, clock)
    tables = np.asarray(program.joint_values(state, jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), seeds)
    returns = np.asarray(program.evaluate(state, keys, 0).returns).mean(axis=1)
    mean, spread = tables.mean(axis=0).astype(float), float(tables.std(axis=0).max())
    best = [tuple(int(i) for i in np.unravel_index(t.argmax(), t.shape)) for t in tables]
    return {
        "algo": algo, "updates": int(clock.updates), "optimum": float(program.optimum[0, 0]),
        "returns": returns.tolist(), "best": best, "table": mean.round(1).tolist(),
        "spread": round(spread, 1),
    }  # fmt: skip


def row(result: dict) -> str:
    """A line of the table: how often the optimum is played, what is taken for it, mean values."""
    optimal = np.isclose(result["returns"], result["optimum"]).sum()
    taken = ", ".join(f"{b} {n}x" for b, n in Counter(result["best"]).most_common())
    table = " / ".join(" ".join(f"{v:.1f}" for v in line) for line in result["table"])
    cells = f"`{result['algo']}`", f"{optimal} of {len(result['returns'])}", taken, table
    return "| " + " | ".join((*cells, str(result["spread"]))) + " |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("algos", nargs="*", default=ALGOS, metavar="ALGO")
    parser.add_argument("--game", default="qtran", help="a scenario of env=matrix_game")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100_000, help="environment steps of each seed")
    given = parser.parse_args()
    print("| algo | optimum played | largest value | mean table | largest deviation |")
    print("|---|---|---|---|---|")
    results = []
    for algo in given.algos:
        results.append(learnt(algo, given.game, given.seeds, given.steps))
        print(row(results[-1]), flush=True)
    print(json.dumps(results))
