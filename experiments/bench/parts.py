"""What the parts of a round of training cost, and how near the machine's limits they come.

    python experiments/bench/parts.py [--quick] [env=smax env.scenario=2s3z algo=qmix_knife ...]

Words are those of ``knife_jax.train``. Each part is the function that the chunk of training calls,
compiled by itself for one device, run in a loop if the chunk does so, with the state of a run
that has begun to learn; parts and whole chunks are timed in turns, and shares are those of a round
of the chunks. Operations are those of matrix products, counted in the traced program; bytes are
those that XLA expects the compiled part to read and write, as if there were no caches. Both are
compared with what the machine did in this same process with one large product and one large array.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import work
from chunks import Training, in_turns, n_bytes, training
from pieces import Part, parts, trainer_of
from stepping import where
from timing import Spent, median, timer

from knife_jax.cli import compose
from knife_jax.config.run import Config
from knife_jax.host import compile_cache

BACKWARD = "backward and optimiser"
"""what an update does beyond the forward pass"""
COUNTED = ("environment", "acting", "replay add", "replay sample", "learner update")
"""whose operations and bytes are counted"""
SUMMED = (*COUNTED, "meters", "surgery")
"""what a round consists of"""


def runner(part: Part) -> Callable[[], Any]:
    """Runs a part, compiled, on a copy of its carry which it then keeps."""
    run = jax.jit(part.over_seeds(), donate_argnums=0)
    carry = [jax.tree.map(lambda leaf: leaf.copy(), part.carry)]

    def again() -> Any:
        carry[0], results = run(carry[0], part.own, part.same)
        return carry[0], results

    return again


def between_chunks(
    begun: Training, config: Config, round_steps: int
) -> dict[str, tuple[float, Callable[[], Any]]]:
    """What a run does between chunks: how often, a round, and what."""
    program = begun.program
    keys = jax.random.split(jax.random.key(0), len(begun.state.finite))
    probes = round_steps / config.probes.every if config.probes.every else 0.0
    return {
        "(greedy evaluation)": (
            round_steps / config.evaluation.every,
            lambda: program.evaluate(begun.state, keys, 0),
        ),
        "(instruments)": (probes, lambda: program.probe(begun.state, begun.clock)),
    }


def table(costs: dict[str, Spent], calls: dict[str, float]) -> dict[str, Any]:
    """Calls, cost of one and share of the round, for each part; then their sum and the whole."""
    whole = costs["round"]
    rows = {
        name: {"calls": n, "ms": costs[name].wall * 1e3, "cpu_ms": costs[name].cpu * 1e3}
        for name, n in calls.items()
    }
    update, forward = rows["learner update"], rows["learner forward"]
    rows[BACKWARD] = {"calls": update["calls"]} | {
        key: update[key] - forward[key] for key in ("ms", "cpu_ms")
    }
    for row in rows.values():
        row["share"] = row["ms"] * row["calls"] / whole.wall / 1e3
        row["cpu_share"] = row["cpu_ms"] * row["calls"] / whole.cpu / 1e3
    steps, endless = rows["environment"], rows.pop("environment, never ending")
    summed = [rows[name] for name in SUMMED if name in rows]
    return {
        "parts": rows,
        "auto_reset_share_of_environment": {
            key: 1 - endless[key] / steps[key] for key in ("ms", "cpu_ms")
        },
        "sum": {key: sum(row[key] for row in summed) for key in ("share", "cpu_share")},
        "round": {"ms": whole.wall * 1e3, "cpu_ms": whole.cpu * 1e3},
    }


def limits(known: dict[str, Part], found: dict[str, Any]) -> dict[str, Any]:
    """Operations and bytes of the parts and of the round, a second, as shares of the peaks."""
    peak = work.peaks()
    totals = work.Peaks(0.0, 0.0)
    out = {}
    for name in COUNTED:
        part = known[name]
        one = required(part)
        out[name] = _rates(one, found["parts"][name]["ms"], peak)
        totals = work.Peaks(*(a + b * part.calls for a, b in zip(totals, one, strict=True)))
    out["round"] = _rates(totals, found["round"]["ms"], peak)
    return {"peak": {"GFLOP_per_s": peak.flops / 1e9, "GB_per_s": peak.bytes / 1e9}, "limits": out}


def required(part: Part) -> work.Peaks:
    """Operations and bytes of one call. Windows that only move are read and written once: of an
    indexed array, XLA would count the whole."""
    run = jax.jit(part.over_seeds(), donate_argnums=0)
    given = part.carry, part.own, part.same
    if part.name.startswith("replay"):
        moved = part.own if part.name == "replay add" else jax.eval_shape(run, *given)[1]
        return work.Peaks(0.0, 2.0 * n_bytes(moved) / part.at_once)
    return work.Peaks(
        work.matmul_flops(run, *given) / part.at_once, work.traffic(run, *given) / part.at_once
    )


def _rates(one: work.Peaks, ms: float, peak: work.Peaks) -> dict[str, float]:
    return {
        "GFLOP": one.flops / 1e9,
        "GB": one.bytes / 1e9,
        "flops_share_of_peak": one.flops / ms * 1e3 / peak.flops,
        "bytes_share_of_peak": one.bytes / ms * 1e3 / peak.bytes,
    }


def show(found: dict[str, Any]) -> None:
    """The tables, as text."""
    print(f"{'':30s} {'calls':>7s} {'ms':>9s} {'CPU ms':>9s} {'share':>7s} {'of CPU':>7s}")
    for name, row in found["parts"].items():
        print(f"{name:30s} {row['calls']:7.3g} {row['ms']:9.3f} {row['cpu_ms']:9.3f} "
              f"{row['share']:7.1%} {row['cpu_share']:7.1%}")  # fmt: skip
    whole, summed, reset = (
        found[key] for key in ("round", "sum", "auto_reset_share_of_environment")
    )
    print(f"round: {whole['ms']:.1f} ms, {whole['cpu_ms']:.1f} ms of processor; the sum of its "
          f"parts is {summed['share']:.1%} and {summed['cpu_share']:.1%} of that")  # fmt: skip
    print(f"auto-reset: {reset['ms']:.1%} of the environment's time, {reset['cpu_ms']:.1%} of CPU")
    for name, row in {"peak": found["peak"], **found["limits"]}.items():
        print(name, ", ".join(f"{key} {value:.3g}" for key, value in row.items()))


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Everything, of one configuration."""
    t = trainer_of(config)
    length = replace(config, devices=1, log_every=args.chunk * t.round_steps)
    begun = training(length).until(max(args.at, t.waits * t.round_steps + 1))
    known = parts(t, begun, math.ceil(config.env_steps / t.round_steps))
    sides = {name: timer(runner(part), args.seconds, part.at_once) for name, part in known.items()}
    sides["round"] = timer(begun.runner(), args.seconds, args.chunk)
    between = between_chunks(begun, config, t.round_steps)
    sides |= {name: timer(run, 0) for name, (_, run) in between.items()}
    spent = in_turns(sides, args.rounds)
    costs = {name: median(each) for name, each in spent.items()}
    found = table(costs, {name: part.calls for name, part in known.items()}
                  | {name: calls for name, (calls, _) in between.items()})  # fmt: skip
    return found | limits(known, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="field=value, as for knife_jax.train")
    parser.add_argument("--rounds", type=int, default=5, help="timings of each (default: 5)")
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="least length of a timing (default: 0.5)"
    )
    parser.add_argument("--chunk", type=int, default=4, help="rounds in a chunk (default: 4)")
    parser.add_argument(
        "--at", type=int, default=0, help="environment steps to train first (default: "
        "until there is learning)",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="3 timings of 0.1 seconds")
    args = parser.parse_intermixed_args()
    compile_cache.keep()
    if args.quick:
        args.rounds, args.seconds = 3, 0.1
    found = measure(compose(args.words), args)
    show(found)
    print(json.dumps({"benchmark": "parts", "words": args.words, **found, **where()}))


if __name__ == "__main__":
    main()
