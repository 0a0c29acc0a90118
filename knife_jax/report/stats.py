"""Interquartile means over seeds and tasks, and how far they would differ with other seeds.

One run has all tasks of a seed, and with ``env.drawing=per_seed`` its seed draws them. So a
seed with all of its tasks is one independent observation: intervals are those of the bootstrap that
draws seeds with replacement and keeps each with all of its tasks as they are. That holds however
the tasks of a seed depend on each other. To draw tasks again within the seeds drawn would count
their variance twice (Davison & Hinkley 1997, §3.8; Ren et al. 2010); to draw seeds in each task
apart, as rliable does (Agarwal et al. 2021), leaves the variance between seeds out. The quantiles
are those of Hesterberg (2015), "expanded" for a small number of seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr, stdtrit  # scipy.stats takes a second to import

DRAWS = 2000
HIGH = 0.975
"""the upper end of a 95 % interval"""


class Estimate(NamedTuple):
    """A statistic and its 95 % interval, NaN with a single seed; arrays if there are several."""

    value: np.ndarray | float
    low: np.ndarray | float
    high: np.ndarray | float


def iqm(values: Float[np.ndarray, "... N"]) -> Float[np.ndarray, "..."] | float:
    """The mean of the middle half; NaN if a value is."""
    n = values.shape[-1]
    cut = n // 4
    middle = np.partition(values, (cut, n - cut - 1), axis=-1)[..., cut : n - cut].mean(axis=-1)
    return np.where(np.isnan(values).any(axis=-1), np.nan, middle)[()]


def over_runs(values: Float[np.ndarray, "... S K"]) -> Float[np.ndarray, "..."] | float:
    """The IQM over all seeds and tasks."""
    return iqm(values.reshape(*values.shape[:-2], -1))


def levels(n: int) -> tuple[float, float]:
    """The quantiles of draws of n seeds between which a 95 % interval lies: below Φ(-z) and above
    Φ(z), z = sqrt(n / (n - 1)) · t(0.975; n - 1)."""
    low = float(ndtr(-sqrt(n / (n - 1)) * stdtrit(n - 1, HIGH)))
    return low, 1 - low


def drawn(n: int) -> Int[np.ndarray, "B S"]:
    """``DRAWS`` draws of n seeds with replacement: the same ones whenever n is the same."""
    return np.random.default_rng(0).integers(n, size=(DRAWS, n))


def estimate(
    of: Callable[..., np.ndarray | float], *values: Float[np.ndarray, "S ..."]
) -> Estimate:
    """A statistic of values ``[..., S, K]``, and its interval.

    Values of several methods are drawn together: each draw has the same seeds of all of them.
    """
    n = len(values[0])
    value = of(*values)
    if n == 1:
        return Estimate(value, *np.full((2, *np.shape(value)), np.nan))
    draws = of(*(v[drawn(n)] for v in values))
    return Estimate(value, *np.quantile(draws, levels(n), axis=0))


def pooled(
    values: Float[np.ndarray, "S K"], less: Float[np.ndarray, "S K"] | None = None
) -> Estimate:
    """The IQM over seeds and tasks, less that of another method on the same seeds."""
    if less is None:
        return estimate(over_runs, values)
    return estimate(lambda a, b: over_runs(a) - over_runs(b), values, less)


def probability(values: Float[np.ndarray, "S K"], other: Float[np.ndarray, "S K"]) -> Estimate:
    """The probability that a method beats another on the same task of the same seed.

    Ties count half.
    """
    won = (values > other) + 0.5 * (values == other)
    return estimate(lambda x: x.mean(axis=(-2, -1)), won)


def over_families(
    families: Sequence[tuple[Float[np.ndarray, "S K"], Float[np.ndarray, "S K"]]],
) -> Estimate:
    """The mean over families of tasks of the IQM of a method less that of another.

    Seeds are drawn within each family apart, as those of one have nothing to do with those of
    another; the quantiles are those of the family with the fewest seeds.
    """
    value = sum(float(over_runs(a) - over_runs(b)) for a, b in families) / len(families)
    least = min(len(a) for a, _ in families)
    if least == 1:
        return Estimate(value, np.nan, np.nan)
    total = np.zeros(DRAWS)
    for place, (a, b) in enumerate(families):
        which = np.random.default_rng(place).integers(len(a), size=(DRAWS, len(a)))
        total += over_runs(a[which]) - over_runs(b[which])
    return Estimate(value, *np.quantile(total / len(families), levels(least)))


def prediction(
    values: Float[np.ndarray, "S K"], less: Float[np.ndarray, "S K"] | None = None
) -> tuple[float, float]:
    """Between what the figure of one further seed lies with a probability of 95 %.

    Its figure is the IQM over its own tasks, less that of another method. Figures of seeds are
    taken to follow one normal law of unknown mean and variance, so that the ends are
    mean ± t(0.975; n - 1) · s · sqrt(1 + 1/n); order statistics, which assume no law, would need 39
    seeds. The mean of these figures is not the IQM over all seeds and tasks, which can trim all
    that a seed has. NaN with a single seed.
    """
    figures = np.asarray(iqm(values) if less is None else iqm(values) - iqm(less))
    n = len(figures)
    if n == 1:
        return np.nan, np.nan
    mean = float(figures.mean())
    half = float(stdtrit(n - 1, HIGH) * figures.std(ddof=1) * sqrt(1 + 1 / n))
    return mean - half, mean + half


def course(values: Float[np.ndarray, "S K"], most: int) -> tuple[np.ndarray, Estimate]:
    """The IQM of each task, or of as many groups of tasks in a row as are wanted at ``most``.

    Returns the mean place of each group (from 0) ``[P]`` and the estimates ``[P]``.
    """
    groups = np.array_split(np.arange(values.shape[1]), min(values.shape[1], most))
    estimates = [pooled(values[:, group]) for group in groups]
    places = np.array([group.mean() for group in groups])
    return places, Estimate(*map(np.array, zip(*estimates, strict=True)))


def over_seeds(values: Float[np.ndarray, "S P"]) -> Estimate:
    """The IQM over seeds at each moment of a curve ``[P]``, of those that have a value there.

    Equal draws are computed once: of 3 seeds there are 10.
    """
    value = _known_iqm(values[None])[0]
    low, high = np.full((2, *value.shape), np.nan)
    if len(values) > 1:
        distinct, which = np.unique(
            np.sort(drawn(len(values)), axis=1), axis=0, return_inverse=True
        )
        draws = _known_iqm(values[distinct])[which.reshape(-1)]
        known = ~np.isnan(draws).any(axis=0)
        low[known], high[known] = np.quantile(draws[:, known], levels(len(values)), axis=0)
    return Estimate(value, low, high)


def _known_iqm(values: Float[np.ndarray, "B S P"]) -> Float[np.ndarray, "B P"]:
    """The IQM over seeds of the values that are no NaN; NaN if there is none."""
    ordered = np.sort(values, axis=1)  # NaN come last
    count = (~np.isnan(values)).sum(axis=1, keepdims=True)
    cut = count // 4
    place = np.arange(values.shape[1])[:, None]
    kept = (place >= cut) & (place < count - cut)
    n = kept.sum(axis=1)
    total = np.where(kept, ordered, 0.0).sum(axis=1)
    return np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)


def thinned(n: int, most: int) -> Int[np.ndarray, "P"]:
    """Which of n moments are shown: all, or evenly spaced ones with the first and the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
