"""Training speed against one size: seeds, environments, agents or hidden units.

    python experiments/bench/scaling.py --axis seeds [--values 1,8,32,128] [algo.hidden=64 ...]

Words are those of ``knife_jax.train``, for what the axis does not say. All values are built in one
process and train in turns, learning in every round. Compilation (tracing included) is timed twice:
cold, and with the program in the persistent cache. Memory is what the compiled chunk
needs at once, state and replay included. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from knife_jax.cli import compose
from knife_jax.parallel import devices

if TYPE_CHECKING:
    from timing import Spent

AXES = {
    "seeds": ("num_seeds", "1,8,32,128"),
    "envs": ("env.n_envs", "16,64,256,1024"),
    "agents": ("env.scenario", "3m,8m,25m"),
    "hidden": ("algo.hidden", "32,64,128,256"),
}
"""axis -> the field that it changes, and its values"""
WORDS = ["env=smax", "env.scenario=3m", "algo=qmix", "algo.buffer_size=1024"]
"""what is trained by default; a small replay, so that many seeds fit"""


def main() -> None:
    args = _arguments()
    devices.begin(args.devices)
    # jax may start now
    import jax
    from chunks import in_turns
    from stepping import where
    from timing import timer

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    end = time.monotonic() + args.until
    points: dict[str, dict[str, Any]] = {}
    sides = {}
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        for value in (args.values or AXES[args.axis][1]).split(","):
            if time.monotonic() > end:
                points[value] = {"error": "no time was left"}
                continue
            try:
                points[value], run = _point(args, value)
                sides[value] = timer(run, 0)
            except jax.errors.JaxRuntimeError as error:  # too large: the others still count
                points[value] = {"error": str(error).splitlines()[0]}
            print(f"{args.axis} {value}: {points[value]}", flush=True)
    for value, spent in in_turns(sides, args.rounds).items():
        points[value] |= _rates(points[value], spent)
    record = {"benchmark": "scaling", "axis": args.axis, "words": args.words, "points": points}
    if len(sides) > 1:
        record["times_the_first"] = relative(points, next(iter(sides)))
    print(json.dumps({**record, "devices": args.devices, "rounds": args.rounds, **where()}))


def words_of(axis: str, value: str, more: Sequence[str] = ()) -> list[str]:
    """What is trained: the words given, the axis, and ``WORDS`` for fields left open."""
    given = [*more, f"{AXES[axis][0]}={value}"]
    fields = {word.partition("=")[0] for word in given}
    return [word for word in WORDS if word.partition("=")[0] not in fields] + given


def _point(args: argparse.Namespace, value: str) -> tuple[dict[str, Any], Any]:
    """What is known of one value before it is timed, and what trains a chunk of it."""
    import jax
    from chunks import program_bytes, training

    config = compose(words_of(args.axis, value, args.words))
    steps = args.chunk * config.algo.window * config.env.n_envs
    config = replace(config, devices=args.devices, log_every=steps)
    cold = training(config).compiling
    jax.clear_caches()
    first = training(config).until(config.algo.learning_starts + 1)
    begun = first.until(0)
    made = {
        "env_steps": config.num_seeds * steps,
        "updates": config.num_seeds * int(begun.clock.updates - first.clock.updates),
    }
    known = {
        f"{kind}_{key}s": round(getattr(spent, clock), 2)
        for kind, spent in (("compile", cold), ("cached", first.compiling))
        for key, clock in (("", "wall"), ("cpu_", "cpu"))
    }
    return made | known | {"bytes": program_bytes(begun.run)}, begun.runner()


def _rates(made: dict[str, Any], spent: list[Spent]) -> dict[str, float]:
    from timing import median

    middle = median(spent)
    rates = {
        "s": middle.wall,
        "cpu_s": middle.cpu,
        "env_steps_per_s": round(made["env_steps"] / middle.wall),
        "updates_per_s": round(made["updates"] / middle.wall, 2),
    }
    print({name: made[name] for name in ("env_steps", "updates")}, rates, flush=True)
    return rates


def relative(points: dict[str, dict[str, Any]], base: str) -> dict[str, dict[str, float]]:
    """The time of a chunk, and of an environment step in it, over those of the first value."""

    def cost(point: dict[str, Any], key: str) -> float:
        return point[key] / point["env_steps"]

    return {
        value: {
            "chunk": round(point["s"] / points[base]["s"], 3),
            "chunk_cpu": round(point["cpu_s"] / points[base]["cpu_s"], 3),
            "env_step": round(cost(point, "s") / cost(points[base], "s"), 3),
        }
        for value, point in points.items()
        if "s" in point
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="field=value, as for knife_jax.train")
    parser.add_argument("--axis", choices=AXES, default="seeds", help="(default: seeds)")
    parser.add_argument("--values", help="joined by commas (default: those of the axis)")
    parser.add_argument("--devices", type=int, default=1, help="to train on (default: 1)")
    parser.add_argument("--chunk", type=int, default=1, help="rounds in a chunk (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="timed chunks of each (default: 5)")
    parser.add_argument(
        "--until", type=float, default=float("inf"), metavar="SECONDS",
        help="no value is begun after so many seconds (default: no limit)",
    )  # fmt: skip
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    main()
