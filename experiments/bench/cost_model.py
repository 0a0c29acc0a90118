"""What a round of training costs by a model of few constants: seconds, bytes and messages.

    python experiments/bench/cost_model.py [--kind h200] [--devices 1,8] [env=smax num_seeds=8 ...]
    python experiments/bench/cost_model.py --check

Words are those of ``knife_jax.train``; ``--devices`` as in its configuration. Operations, bytes and
messages are counted in the traced program; nothing is compiled or run, and no device is needed.
What is printed of kinds and numbers of devices that were not timed is a prediction. ``--check``
compares the model with all rounds on record. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from counts import Counts, counts
from measured import Timed, all_timed

from knife_jax.cli import compose
from knife_jax.config.run import Config
from knife_jax.parallel.devices import shared_out


class Kind(NamedTuple):
    """Constants of one device. Rates are infinite and times 0 where the kind needs none."""

    flops: float = math.inf
    """operations of matrix products per second"""
    bytes: float = math.inf
    """bytes per second that matrix products read and write"""
    moved: float = math.inf
    """bytes per second of windows, played, stored and drawn"""
    seed_pass: float = 0.0
    """seconds of a pass of a loop in a gradient step, for each seed"""
    a_pass: float = 0.0
    """the same, for all seeds at once"""
    step: float = 0.0
    """seconds of a step of all environments of all seeds"""
    update: float = 0.0
    """seconds of a gradient step, its loops aside, of all seeds"""
    message: float = 0.0
    """seconds that a sum over the shards takes at least"""
    link: float = math.inf
    """bytes per second that a device sends to others"""
    memory: float = math.inf
    """its bytes"""


FITTED = {
    "core": ("hidden units 32", "hidden units 64", "hidden units 256", "agents 25 (25m)"),
    "h200": ("2s3z", "2s3z, windows of 128", "3m, seeds 32"),
}
"""the rounds that constants are fitted on, by relative least squares"""
TERMS = {"core": ("flops", "seed_pass", "moved"), "h200": ("update", "a_pass", "bytes")}
"""the constants that are"""
BASES = (
    "hidden units 64", "environments 64", "agents 3 (3m)", "seeds 1, split over both cores",
    "seeds 1, again",
)  # fmt: skip
"""the row of each process that says how fast the machine was"""

H200 = Kind(
    flops=3.68e14,  # the peak that parts.py measured
    bytes=1.05e12,  # fitted
    a_pass=11.2e-6,  # fitted
    update=1.05e-3,  # fitted
    step=0.328e-3,  # the rollout that parts.py measured
    message=25e-6,  # a guess
    link=450e9,  # NVLink, half of 900 GB/s both ways: NVIDIA's data sheet
    memory=141e9,  # the same
)
KINDS = {
    "core": Kind(flops=6.68e10, seed_pass=30.2e-6, moved=1.08e9),
    "h200": H200,
    "v5e": H200._replace(
        flops=1.97e14,  # bfloat16; Google's table of the chip, as what follows
        bytes=H200.bytes * 819 / 2984,  # as large a part of the memory's rate
        message=50e-6,  # a guess
        link=200e9,
        memory=16e9,
    ),
}
"""``core``: of a CPU with AVX-512, all cores at work, fitted on the tables of README.md. ``h200``:
from results/h200-2026-11-26 if no other source is named. ``v5e``: a TPU core by public figures,
with the H200's times of what is done one after the other; nothing of it was measured."""

TEMPORARY = 0.7
"""bytes that a program needs beside its state, over those of the products of a gradient step; from
hidden units 64 to 128 of README.md"""


class Round(NamedTuple):
    """Seconds of a round by their cause, and what a device holds and sends."""

    devices: int
    seeds: int
    """on a device"""
    shards: int
    """devices of a seed"""
    work: float
    """seconds that grow with seeds, agents and widths"""
    in_turn: float
    """seconds of what is done one after the other, whatever its size"""
    exchange: float
    """seconds of messages"""
    replay_bytes: int
    program_bytes: int
    messages: int
    message_bytes: int

    @property
    def seconds(self) -> float:
        return self.work + self.in_turn + self.exchange


def terms(c: Counts, seeds: int) -> dict[str, float]:
    """How often each constant of ``Kind`` counts in a round: seconds are Σ n · constant, of rates
    Σ n / constant."""
    return {
        "flops": seeds * c.flops,
        "bytes": seeds * c.bytes,
        "moved": seeds * c.moved,
        "seed_pass": seeds * c.passes,
        "a_pass": c.passes,
        "step": c.steps,
        "update": c.updates,
    }


def seconds_each(kind: Kind) -> dict[str, float]:
    """The seconds of one of each of ``terms``."""
    rates = ("flops", "bytes", "moved")
    return {
        name: 1 / value if name in rates else value
        for name, value in kind._asdict().items()
        if name not in ("message", "link", "memory")
    }


def predict(c: Counts, kind: Kind, seeds: int, groups: int = 1, shards: int = 1) -> Round:
    """A round with ``seeds`` on each of ``groups`` devices, or sets of ``shards`` devices; ``c``
    counts one shard of one seed."""
    each = seconds_each(kind)
    spent = {name: n * each[name] for name, n in terms(c, seeds).items()}
    sent = 2 * (shards - 1) / shards * seeds * c.message_bytes  # of a sum by a ring
    return Round(
        devices=groups * shards,
        seeds=seeds,
        shards=shards,
        work=sum(spent[name] for name in ("flops", "bytes", "moved", "seed_pass")),
        in_turn=sum(spent[name] for name in ("a_pass", "step", "update")),
        exchange=c.messages * kind.message + sent / kind.link,
        replay_bytes=seeds * c.replay,
        program_bytes=seeds * (c.state + round(TEMPORARY * c.made)),
        messages=c.messages,
        message_bytes=seeds * c.message_bytes,
    )


def of_config(config: Config, kind: str, n: int) -> tuple[Counts, Round]:
    """What a round of a configuration with ``devices=n`` is on each device, and what it costs."""
    groups, shards = shared_out(config.num_seeds, (config.env.n_envs, config.algo.batch_size), n)
    c = counts(config, shards)
    return c, predict(c, KINDS[kind], config.num_seeds // groups, groups, shards)


def fit(rows: Sequence[tuple[dict[str, float], float]], names: Sequence[str], known: Kind) -> dict:
    """Least squares of the relative errors of rounds, given as (terms, seconds): the seconds of
    each of ``names``, beside what is known of the other terms."""
    each = {name: 0.0 if name in names else s for name, s in seconds_each(known).items()}
    rest = [sum(n * each[name] for name, n in row.items()) for row, _ in rows]
    left = np.array([[row[name] / s for name in names] for row, s in rows])
    right = np.array([1 - r / s for r, (_, s) in zip(rest, rows, strict=True)])
    scale = left.max(axis=0)
    found = np.linalg.lstsq(left / scale, right)[0] / scale
    return dict(zip(names, map(float, found), strict=True))


def check(rows: Sequence[Timed]) -> dict[str, Any]:
    """The error of each round on record, and the constants, in seconds, fitted anew."""
    costs = [(row, *of_config(row.config, row.kind, row.devices)) for row in rows]
    speed = {row.process: row.seconds / made.seconds for row, _, made in costs if row.name in BASES}
    errors = {}
    print(f"{'':38s}  measured     model    error at speed    bytes")
    for row, _, made in costs:
        fitted = row.name in FITTED[row.kind]
        found = {"seconds": made.seconds / row.seconds - 1}
        found["at_its_speed"] = (found["seconds"] + 1) * speed.get(row.process, 1.0) - 1
        if row.bytes:
            found["bytes"] = made.program_bytes / row.bytes - 1
        errors[row.name] = {**found, "fitted": fitted}
        cells = "".join(f"{error:+9.1%}" for error in found.values())
        name = f"{row.kind}, {row.name}"
        print(f"{name:38s} {row.seconds:9.4f} {made.seconds:9.4f}{cells}" + "  fitted" * fitted)
    constants = {}
    for kind, names in TERMS.items():
        chosen = [
            (terms(c, made.seeds), row.seconds)
            for row, c, made in costs
            if row.kind == kind and row.name in FITTED[kind]
        ]
        constants[kind] = fit(chosen, names, KINDS[kind])
        print(kind, constants[kind])
    return {"errors": errors, "speeds": speed, "constants": constants}


def show(rounds: Sequence[Round], config: Config, kind: Kind) -> None:
    """The rounds as a table, a number of devices a column."""
    steps = config.num_seeds * config.algo.window * config.env.n_envs
    columns = [
        {
            "devices used": f"{r.devices}",
            "seeds on a device": f"{r.seeds}",
            "devices of a seed": f"{r.shards}",
            "seconds": f"{r.seconds:.4g}",
            "  that grow with the sizes": f"{r.work:.4g}",
            "  one after the other": f"{r.in_turn:.4g}",
            "  messages": f"{r.exchange:.4g}",
            "env steps/s": f"{steps / r.seconds:,.0f}",
            "replay, MB a device": f"{r.replay_bytes / 1e6:,.1f}",
            "program, MB a device": f"{r.program_bytes / 1e6:,.1f}",
            "  of its memory": f"{r.program_bytes / kind.memory:.1%}",
            "messages": f"{r.messages}",
            "bytes of messages": f"{r.message_bytes:,}",
        }
        for r in rounds
    ]
    for name in columns[0]:
        print(f"{name:28s}" + "".join(f"{column[name]:>16s}" for column in columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="field=value, as for knife_jax.train")
    parser.add_argument("--kind", choices=KINDS, default="h200", help="of devices (default: h200)")
    parser.add_argument("--devices", default="1", help="joined by commas (default: 1)")
    parser.add_argument("--check", action="store_true", help="compare with what is on record")
    args = parser.parse_intermixed_args()
    if args.check:
        print(json.dumps({"benchmark": "cost_model", **check(all_timed())}))
        return
    config = compose(args.words)
    numbers = [int(n) for n in args.devices.split(",")]
    rounds = [of_config(config, args.kind, n)[1] for n in numbers]
    show(rounds, config, KINDS[args.kind])
    found = [{"seconds": each.seconds, **each._asdict()} for each in rounds]
    record = {"benchmark": "cost_model", "words": args.words, "kind": args.kind}
    print(json.dumps({**record, "rounds": found, "jax": jax.__version__}))


if __name__ == "__main__":
    main()
