"""From metrics to records: one for each seed and moment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from knife_jax.records.lines import IDENTITY, Record

if TYPE_CHECKING:
    from knife_jax.builders.program import Program
    from knife_jax.training.evaluator import Episodes


def number(value: Any) -> int | float | bool | None:
    """A scalar as JSON holds it, in the fewest digits; None if it is NaN or infinite."""
    value = np.asarray(value)[()]
    if isinstance(value, np.floating):
        return float(str(value)) if math.isfinite(value) else None
    return value.item()


def seed_records(
    kind: str, seeds: Sequence[int], values: Mapping[str, Any], **same: int | float
) -> list[Record]:
    """One record per seed from values with axis ``[S]``; ``same`` is in all of them."""
    records = []
    for s, seed in enumerate(seeds):
        record = {name: number(value[s]) for name, value in values.items()}
        record |= {"kind": kind, "seed": seed, **same}
        records.append({name: record.pop(name) for name in IDENTITY if name in record} | record)
    return records


def surgery_records(
    seeds: Sequence[int], events: Mapping[str, Any], **same: int | float
) -> list[Record]:
    """One record per surgery that fired and seed, in time order, from events ``[S, R]``."""
    values = {name: np.asarray(event) for name, event in events.items()}
    fired = values.pop("fired")
    records = []
    for r in np.flatnonzero(fired.any(axis=0)):
        at_r = {name: value[:, r] for name, value in values.items()}
        one = seed_records("surgery", seeds, at_r, **same)
        records += [record for s, record in enumerate(one) if fired[s, r]]
    return records


def chunk_records(
    seeds: Sequence[int], metrics: Mapping[str, Mapping[str, Any]], program: Program, **stamp: Any
) -> list[Record]:
    """The records of a chunk: its surgeries, then its end."""
    has_win = program.spec.has_win
    values = {name: v for name, v in metrics["train"].items() if has_win or name != "win_rate"}
    events = dict(metrics["surgery"])
    events["env_steps"] = np.asarray(events.pop("rounds"), np.int64) * program.round_steps
    surgeries = surgery_records(seeds, events, wall_time=stamp["wall_time"])
    return surgeries + seed_records("train", seeds, values, **stamp)


def evaluation_records(
    kind: str,
    seeds: Sequence[int],
    episodes: Episodes,
    has_win: bool,
    optimum: Float[np.ndarray, "S"] | None = None,
    **stamp: Any,
) -> list[Record]:
    """Means over the whole episodes ``[S, M]`` of each seed, and how many broke off if any did;
    ``optimum`` is the best expected return."""
    whole, all_whole = episodes.whole, bool(np.all(episodes.whole))

    def mean(values: Any) -> np.ndarray:
        if all_whole:
            return values.mean(axis=1)
        n = whole.sum(axis=1)
        return np.where(n > 0, values.sum(axis=1, where=whole) / np.maximum(n, 1), np.nan)

    values: dict[str, Any] = {"return": mean(episodes.returns)}
    if optimum is not None:
        values["regret"] = optimum.astype(values["return"].dtype) - values["return"]
    if has_win:
        values["win_rate"] = mean(episodes.won)
    values["length"] = mean(episodes.lengths)
    values["episodes"] = whole.sum(axis=1)
    if not all_whole:
        values["games_broken"] = (~whole).sum(axis=1)
    return seed_records(kind, seeds, values, **stamp)
