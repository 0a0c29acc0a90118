"""Interquartile means with stratified bootstrap intervals (Agarwal et al. 2021).

As in rliable, which is not used here because its intervals cannot be repeated (it ignores
``random_state``) and know no pairs of seeds; the tests hold these to it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import trim_mean

DRAWS = 2000
QUANTILES = (0.025, 0.975)


class Estimate(NamedTuple):
    """A statistic and its 95 % percentile bootstrap interval; arrays if there are several."""

    value: np.ndarray | float
    low: np.ndarray | float
    high: np.ndarray | float


def iqm(values: Float[np.ndarray, "... N"]) -> Float[np.ndarray, "..."] | float:
    """The mean of the middle half."""
    return trim_mean(values, 0.25, axis=-1)


def resample(
    values: Float[np.ndarray, "S K"], whole_seeds: bool = False, stream: int = 0
) -> Float[np.ndarray, "B S K"]:
    """``DRAWS`` draws of S seeds with replacement, equal for equal shapes and streams.

    In each task on its own, as is right if all tasks have runs of their own; with
    ``whole_seeds`` a seed comes with all of its tasks, as is right if one run has them all.
    """
    s, k = values.shape
    drawn = _drawn(s, 1 if whole_seeds else k, stream)
    return values[drawn, np.arange(k)]


def _drawn(s: int, k: int, stream: int = 0) -> Int[np.ndarray, "B S K"]:
    return np.random.default_rng(stream).integers(s, size=(DRAWS, s, k))


def pooled(
    values: Float[np.ndarray, "S K"],
    less: Float[np.ndarray, "S K"] | None = None,
    whole_seeds: bool = False,
) -> Estimate:
    """The IQM over seeds and tasks, less that of a run whose seeds are drawn together."""

    def of(scores: np.ndarray) -> np.ndarray | float:
        return iqm(scores.reshape(*scores.shape[:-2], -1))

    value, draws = of(values), of(resample(values, whole_seeds))
    if less is not None:
        value, draws = value - of(less), draws - of(resample(less, whole_seeds))
    return Estimate(value, *np.quantile(draws, QUANTILES))


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

    A seed is drawn with all of its moments. Equal draws are computed once: of 3 seeds there are 10.
    """
    drawn = np.sort(_drawn(len(values), 1)[:, :, 0], axis=1)
    distinct, which = np.unique(drawn, axis=0, return_inverse=True)
    draws = _known_iqm(values[distinct])[which.reshape(-1)]
    value = _known_iqm(values[None])[0]
    low, high = np.full((2, *value.shape), np.nan)
    known = ~np.isnan(draws).any(axis=0)
    low[known], high[known] = np.quantile(draws[:, known], QUANTILES, axis=0)
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
