"""Which numbers a user watches, and how they are written: no terminal here, only text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from knife_jax.config.run import Config
from knife_jax.records.lines import Record


class Shown(NamedTuple):
    """A value of the progress line: the records that have it, its label, and which end is bad."""

    kind: str
    name: str
    label: str
    worst: Literal["lowest", "highest"] | None = None


SHOWN = (
    Shown("train", "return", "return", "lowest"),
    Shown("train", "win_rate", "win rate", "lowest"),
    Shown("train", "loss", "loss", "highest"),
    Shown("train", "epsilon", "epsilon"),
    Shown("train", "stagnant_pct", "stagnant %", "highest"),
    Shown("train", "dormant_pct", "dormant %", "highest"),
    Shown("train", "grafted_units", "grafted units"),
    Shown("eval", "return", "evaluation return", "lowest"),
    Shown("eval", "win_rate", "evaluation win rate", "lowest"),
)


class Plan(NamedTuple):
    """What is known of a run before its first chunk, which begins at wall time ``start``."""

    title: str
    env_steps: int
    n_seeds: int
    start: float


class Spread(NamedTuple):
    """A value over the seeds that have one."""

    mean: float
    low: float
    high: float
    worst: int | None
    """the seed number, if seeds differ and one end of the range is the bad one"""


def spread(records: Sequence[Record], shown: Shown) -> Spread | None:
    """The value over seeds; None if no record has one."""
    values = {r["seed"]: r[shown.name] for r in records if r.get(shown.name) is not None}
    if not values:
        return None
    known = values.values()
    low, high = min(known), max(known)
    worst = None
    if shown.worst is not None and brief(low) != brief(high):
        worst_of = min if shown.worst == "lowest" else max
        worst = worst_of(values, key=values.__getitem__)
    return Spread(sum(known) / len(known), low, high, worst)


def span(s: Spread) -> str:
    """The range over seeds; empty if they agree as far as shown."""
    low, high = brief(s.low), brief(s.high)
    return "" if low == high else f"{low} to {high}"


def title(config: Config) -> str:
    """A run in a few words: ``smax 3m, qmix_knife, seeds 0-3``."""
    last = config.seed + config.num_seeds - 1
    seeds = f"seed {last}" if config.num_seeds == 1 else f"seeds {config.seed}-{last}"
    return f"{config.env.title()}, {config.algo.name}, {seeds}"


def brief(value: float | None) -> str:
    """A number in few digits: 12345, 12.3, 0.123, 1.2e-05; a dash for none."""
    if value is None:
        return "-"
    whole = value == round(value) or abs(value) >= 999.5
    return f"{value:.0f}" if whole and abs(value) < 1e7 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds as ``2:03`` or ``1:02:03``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def speed(plan: Plan, train: Record) -> str:
    """Environment steps per second of all seeds together, in training alone."""
    return f"{train['env_steps'] * plan.n_seeds / train['train_seconds']:,.0f} env steps/s"


def eta(plan: Plan, train: Record) -> str:
    """Time to the end of the budget at the pace so far, evaluations included."""
    left = max(0, plan.env_steps - train["env_steps"]) / train["env_steps"]
    return duration(left * (train["wall_time"] - plan.start))
