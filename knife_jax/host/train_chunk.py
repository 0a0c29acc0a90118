"""One compiled chunk: train, look for faults and diverged seeds, log."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from knife_jax.console import messages
from knife_jax.envs import contract
from knife_jax.envs.base import EnvSpec
from knife_jax.host.recording import chunk_records, seed_records
from knife_jax.host.run import RunState
from knife_jax.parallel import devices
from knife_jax.records.lines import Record
from knife_jax.sinks.base import FanOut


def train_chunk(run: RunState, sinks: FanOut) -> None:
    """Train the rounds up to the next log line, and write their records.

    Raises what ``check_faults`` raises.
    """
    info, progress, began = run.info, run.info.progress, time.perf_counter()
    before, frozen = progress.env_steps, set(progress.frozen)
    run.state, run.clock, metrics = run.chunk(run.state, run.clock)
    healthy = metrics.pop("healthy")
    clock, metrics = devices.fetch((run.clock, metrics))
    if not all(metrics["train"]["finite"]):
        run.state = run.program.freeze(run.state, healthy)
    check_faults(metrics, run.program.spec, info.seeds)
    if run.program.games is not None:
        run.program.games.check()
        metrics["train"] |= run.program.games.report()
    now = int(clock.rounds) * run.program.round_steps
    for seed in progress.freeze(info.seeds, metrics["train"].pop("finite")):
        at = f"{before:,} and {now:,} env steps"
        messages.warn(f"seed {seed} has diverged between {at}: it is frozen, the others go on")
    progress.advance(now, clock, time.perf_counter() - began)
    stamp = progress.stamp() | {"train_seconds": round(progress.train_seconds, 3)}
    records = chunk_records(info.seeds, metrics, run.program, **stamp)
    sinks.write(list(logged(records, frozen, progress.frozen)))
    if progress.passed(info.config.probes.every, before):
        values = run.program.probe(run.state, run.clock)
        records = seed_records("probe", info.seeds, values, **progress.stamp())
        sinks.write([record for record in records if record["seed"] not in progress.frozen])


def logged(
    records: Iterable[Record], before: Collection[int], after: Collection[int]
) -> Iterator[Record]:
    """The records of a chunk that are kept, given the seeds frozen ``before`` and ``after`` it.

    A seed that diverges in it has a last record of kind ``train``, which says so, and no surgery.
    """
    for record in records:
        seed, is_train = record["seed"], record["kind"] == "train"
        if is_train and seed in after and seed not in before:
            yield record | {"diverged": True}
        elif seed not in after:
            yield record


def check_faults(metrics: dict[str, Any], spec: EnvSpec, seeds: Sequence[int]) -> None:
    """Take the faults out of what a chunk has seen.

    Raises ``ContractError`` if the environment broke its contract, ``FloatingPointError`` for a NaN
    that ``debug.nans`` has found. Messages are one line.
    """
    contract.check(spec, metrics.pop("breaches"))
    if (nan := metrics.pop("nan", None)) and (text := nan.get()):
        named = re.sub(r"mapped index (\d+)", lambda m: f"seed {seeds[int(m[1])]}", text)
        raise FloatingPointError(" ".join(named.split()))
