"""Plasticity metrics of one layer or network: NumPy arrays in, named numbers out.

They run on the host, in double precision, on arrays small enough to fetch: decompositions of
matrices inside a vmapped program can deadlock on a small CPU pool. Each relative metric comes with
an absolute twin, since a layer that has collapsed as a whole is not small relative to itself.
W neurons, M rows of a feature matrix, k gradients. A metric of an empty array is NaN.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from knife_jax.plasticity.stats import DORMANT, STAGNANT

Numbers = dict[str, float]

VOLATILE = 4.0
"""lower bound of high relative update activity; sources disagree on it, and nothing acts on it"""
DEEPLY_DORMANT, OVERACTIVE = 0.025, 3.0
"""bounds of relative activation (ReDo's τ for DQN, ReBorn's β)"""
TAIL = 0.01
"""the fraction of the sum of singular values that srank leaves out (Kumar et al. 2021, δ)"""


def pct(which: Bool[np.ndarray, "*X"]) -> float:
    """Return the percentage that is True."""
    return 100.0 * float(np.mean(which)) if which.size else np.nan


def relative_to(values: Float[np.ndarray, "W"], middle: float) -> Float[np.ndarray, "W"]:
    """Divide values by their layer's middle; return all 0 if that is 0 or not finite.

    So every neuron of a layer that has collapsed counts as lost, as in ``plasticity.meters``.
    """
    return values / middle if np.isfinite(middle) and middle > 0 else np.zeros_like(values)


@np.errstate(invalid="ignore")
def update_activity(activity: Float[np.ndarray, "W"]) -> Numbers:
    """Measure update activity UA_i = ‖g_i‖/‖w_i‖ of a layer, absolute and relative to its middle.

    ``stagnant_pct`` (RUA below 0.25) and ``volatile_pct`` (above 4) take the mean for the middle,
    as KNIFE does; their ``_by_median`` forms are not moved by a few volatile neurons. Absolute
    twins: ``ua_mean``, ``ua_p10``, ``ua_max`` and ``ua_zero_pct``, the neurons without a gradient.
    """
    relative = relative_to(activity, float(np.mean(activity)))
    by_median = relative_to(activity, float(np.median(activity)))
    return {
        "ua_mean": float(np.mean(activity)),
        "ua_p10": float(np.quantile(activity, 0.1)),
        "ua_max": float(np.max(activity)),
        "ua_zero_pct": pct(activity == 0),
        "rua_p10": float(np.quantile(relative, 0.1)),
        "stagnant_pct": pct(relative < STAGNANT),
        "volatile_pct": pct(relative > VOLATILE),
        "stagnant_pct_by_median": pct(by_median < STAGNANT),
        "volatile_pct_by_median": pct(by_median > VOLATILE),
    }


def activations(h: Float[np.ndarray, "M W"]) -> Numbers:
    """Count dormant and over-active neurons of a layer, by s_i = E|h_i| over its mean in the layer.

    ``dormant_pct`` (s_i at most 0.1), ``dormant_025_pct`` (0.025), ``overactive_pct`` (at least 3)
    and ``overactive_share``, the fraction of the layer's activation that the over-active ones carry
    (Sokar et al. 2023, eq. 1; ReBorn, Qin et al. 2024). Absolute twins: ``activation_mean``,
    ``activation_max`` over neurons, ``dead_pct``, the neurons that are exactly 0 on every row, and
    ``zero_pct`` of all entries.
    """
    seen = h if h.shape[0] else np.full((1, h.shape[1]), np.nan)
    level = np.mean(np.abs(seen), axis=0)
    score = relative_to(level, float(np.mean(level)))
    overactive = score >= OVERACTIVE
    numbers = {
        "activation_mean": float(np.mean(level)),
        "activation_max": float(np.max(level)),
        "dormant_pct": pct(score <= DORMANT),
        "dormant_025_pct": pct(score <= DEEPLY_DORMANT),
        "overactive_pct": pct(overactive),
        "overactive_share": float(np.sum(score[overactive]) / score.size),
        "dead_pct": pct(np.all(seen == 0, axis=0)),
        "zero_pct": pct(seen == 0),
    }
    return numbers if h.shape[0] else dict.fromkeys(numbers, np.nan)


def singular_values(matrix: Float[np.ndarray, "M W"]) -> Float[np.ndarray, "R"]:
    """Return the singular values, largest first, from the smaller Gram matrix."""
    matrix = np.asarray(matrix, np.float64)
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    return np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0))[::-1]


def entropy_rank(sigma: Float[np.ndarray, "R"]) -> float:
    """Return exp(-Σ p ln p) with p = σ/Σσ; 0 if all σ are 0 (Roy & Vetterli 2007)."""
    p = sigma[sigma > 0] / np.sum(sigma) if np.any(sigma > 0) else np.ones(0)
    return float(np.exp(-np.sum(p * np.log(p)))) if p.size else 0.0


def ranks(h: Float[np.ndarray, "M W"]) -> Numbers:
    """Compute three ranks of a feature matrix; all 0 for a matrix of zeros.

    ``effective_rank`` is the exponential of the entropy of σ/Σσ; ``srank`` the least number of
    singular values whose sum is at least 0.99 of all (Kumar et al. 2021; Dohare et al. 2024 plot
    it, as a fraction of the width, under the name of stable rank); ``stable_rank`` is Σσ²/σ₁².
    """
    if not h.size or not np.all(np.isfinite(h)):
        return dict.fromkeys(("effective_rank", "srank", "stable_rank"), np.nan)
    sigma = singular_values(h)
    total, largest = float(np.sum(sigma)), float(sigma[0])
    if total == 0:
        return dict.fromkeys(("effective_rank", "srank", "stable_rank"), 0.0)
    covered = np.cumsum(sigma) / total
    return {
        "effective_rank": entropy_rank(sigma),
        "srank": float(np.sum(covered < 1 - TAIL) + 1),
        "stable_rank": float(np.sum(sigma**2)) / largest**2,
    }


def gradient_covariance(gram: Float[np.ndarray, "k k"]) -> Numbers:
    """Measure how alike the gradients of k trajectories are, from their inner products ``gram``
    (Lyle et al. 2023).

    With C_ij = <g_i, g_j>/(‖g_i‖ ‖g_j‖): ``grad_cosine``, the mean off the diagonal,
    ``grad_negative_pct``, the pairs that interfere, and ``grad_effective_rank`` of C. Trajectories
    without a gradient are left out.
    """
    names = ("grad_cosine", "grad_negative_pct", "grad_effective_rank")
    alive = np.diag(gram) > 0
    if not np.all(np.isfinite(gram)) or np.sum(alive) < 2:
        return dict.fromkeys(names, np.nan)
    gram = np.asarray(gram, np.float64)[np.ix_(alive, alive)]
    norm = np.sqrt(np.diag(gram))
    cosine = gram / np.outer(norm, norm)
    pairs = cosine[~np.eye(len(cosine), dtype=bool)]
    values = (float(np.mean(pairs)), pct(pairs < 0), entropy_rank(singular_values(cosine)))
    return dict(zip(names, values, strict=True))


def conflict(norm_of_sum: Float[np.ndarray, "W"], sum_of_norms: Float[np.ndarray, "W"]) -> float:
    """Return 1 - ‖Σ_a g_a‖ / Σ_a ‖g_a‖, the mean over the neurons that have a gradient.

    0 if the gradients of all agents have one direction, 1 if they cancel: a neuron whose gradients
    cancel looks stagnant without being so.
    """
    alive = sum_of_norms > 0
    return float(np.mean(1 - norm_of_sum[alive] / sum_of_norms[alive])) if alive.any() else np.nan


def revival(
    activity: Float[np.ndarray, "W"], age: Int[np.ndarray, "W"], updates: int, window: int
) -> float:
    """Return the percentage not stagnant of neurons operated on and measured for a window since.

    ``age`` is the number of updates since a neuron was last operated on, or since the start.
    """
    operated = (age < updates) & (age >= window)
    return pct(relative_to(activity, float(np.mean(activity)))[operated] >= STAGNANT)
