"""Aggregate metrics over seeds and tasks, as rliable shows them (Agarwal et al. 2021).

Scores ``[S, K]`` are in [0, 1]: S seeds, K tasks. Intervals are those of ``stats``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from knife_jax.report.stats import Estimate, estimate, over_runs

Scores = Float[np.ndarray, "... S K"]


def _median(scores: Scores) -> np.ndarray | float:
    """Of the tasks' means over seeds."""
    return np.median(scores.mean(axis=-2), axis=-1)


def _mean(scores: Scores) -> np.ndarray | float:
    return scores.mean(axis=(-2, -1))


def _optimality_gap(scores: Scores) -> np.ndarray | float:
    """By how much 1 is missed in the mean; what is above 1 does not make up for it."""
    return 1 - np.minimum(scores, 1).mean(axis=(-2, -1))


METRICS: Mapping[str, Callable[[Scores], np.ndarray | float]] = {
    "IQM": over_runs,
    "median": _median,
    "mean": _mean,
    "optimality gap": _optimality_gap,
}
"""label -> metric; the lower the better for the last one alone"""


def aggregates(scores: Float[np.ndarray, "S K"]) -> dict[str, Estimate]:
    """Every metric with its interval."""
    return {name: estimate(of, scores) for name, of in METRICS.items()}


def profile(scores: Float[np.ndarray, "S K"], levels: Float[np.ndarray, "L"]) -> Estimate:
    """The fraction of runs (a seed on a task) that score above each level ``[L]``."""

    def above(drawn: Scores) -> np.ndarray:
        return np.stack([(drawn > level).mean(axis=(-2, -1)) for level in levels], axis=-1)

    return estimate(above, scores)
