"""Interquartile means with stratified bootstrap intervals (Agarwal et al. 2021).

As in rliable, which is not used here because its intervals cannot be repeated (it ignores
``random_state``) and know no pairs of seeds; the tests hold these to it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
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
    values: Float[np.ndarray, "S K"], whole_seeds: bool = False
) -> Float[np.ndarray, "B S K"]:
    """``DRAWS`` draws of S seeds with replacement, equal for equal shapes.

    In each task on its own, as is right if all tasks have runs of their own; with
    ``whole_seeds`` a seed comes with all of its tasks, as is right if one run has them all.
    """
    s, k = values.shape
    drawn = np.random.default_rng(0).integers(s, size=(DRAWS, s, 1 if whole_seeds else k))
    return values[drawn, np.arange(k)]


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
