"""Aggregate metrics over seeds and tasks, as rliable shows them (Agarwal et al. 2021).

Scores ``[S, K]`` are in [0, 1]: S seeds, K tasks. Intervals are those of ``stats``: 95 %
percentile intervals of the stratified bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from knife_jax.report.stats import QUANTILES, Estimate, iqm, resample

Scores = Float[np.ndarray, "... S K"]


def _iqm(scores: Scores) -> np.ndarray | float:
    return iqm(scores.reshape(*scores.shape[:-2], -1))


def _median(scores: Scores) -> np.ndarray | float:
    """Of the tasks' means over seeds."""
    return np.median(scores.mean(axis=-2), axis=-1)


def _mean(scores: Scores) -> np.ndarray | float:
    return scores.mean(axis=(-2, -1))


def _optimality_gap(scores: Scores) -> np.ndarray | float:
    """By how much 1 is missed in the mean; what is above 1 does not make up for it."""
    return 1 - np.minimum(scores, 1).mean(axis=(-2, -1))


METRICS: Mapping[str, Callable[[Scores], np.ndarray | float]] = {
    "IQM": _iqm,
    "median": _median,
    "mean": _mean,
    "optimality gap": _optimality_gap,
}
"""label -> metric; the lower the better for the last one alone"""


def aggregates(scores: Float[np.ndarray, "S K"]) -> dict[str, Estimate]:
    """Every metric with its interval."""
    draws = resample(scores)
    return {
        name: Estimate(of(scores), *np.quantile(of(draws), QUANTILES))
        for name, of in METRICS.items()
    }


def profile(scores: Float[np.ndarray, "S K"], levels: Float[np.ndarray, "L"]) -> Estimate:
    """The fraction of runs (a seed on a task) that score above each level ``[L]``."""
    draws = resample(scores)
    above = np.array([(draws > level).mean(axis=(1, 2)) for level in levels])
    value = np.array([(scores > level).mean() for level in levels])
    return Estimate(value, *np.quantile(above, QUANTILES, axis=1))


def improvement(scores: Float[np.ndarray, "S K"], other: Float[np.ndarray, "Z K"]) -> Estimate:
    """The probability that a run of the first method beats one of the other on the same task.

    Ties count half; the seeds of the two are drawn independently.
    """
    draws, others = resample(scores), resample(other, stream=1)
    per_task = np.zeros(len(draws))
    for task in range(scores.shape[1]):
        per_task += _beats(draws[:, :, task], others[:, :, task])
    pairs = zip(scores.T, other.T, strict=True)
    value = float(np.mean([_beats(a[None], b[None])[0] for a, b in pairs]))
    return Estimate(value, *np.quantile(per_task / scores.shape[1], QUANTILES))


def _beats(a: Float[np.ndarray, "B S"], b: Float[np.ndarray, "B Z"]) -> Float[np.ndarray, "B"]:
    """The fraction of pairs in which the first is the greater, ties half."""
    a, b = a[:, :, None], b[:, None, :]
    return ((a > b) + 0.5 * (a == b)).mean(axis=(1, 2))
