"""Turn what was collected into named numbers, one of each per seed."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from knife_jax.diagnostics import metrics
from knife_jax.diagnostics.collect import View
from knife_jax.diagnostics.curvature import AgentSums, column_norms, kernels
from knife_jax.diagnostics.metrics import Numbers
from knife_jax.diagnostics.regression import Fit
from knife_jax.types import PyTree

EPS = 1e-12


class Collected(NamedTuple):
    """Everything that metrics are computed of, in NumPy, with the axis S of seeds in front."""

    view: View
    weights: PyTree
    gradient: PyTree
    """the gradient over all trajectories"""
    single: list[PyTree]
    """the gradient of each trajectory"""
    agents: dict[str, AgentSums]
    step: PyTree
    """what the optimiser would add to the weights"""
    hessian: Float[np.ndarray, "S"]
    fits: dict[str, Fit]


def summarise(collected: Collected, updates: int, window: int, slots: int) -> dict[str, np.ndarray]:
    """Compute all metrics: flat names such as ``agent/encoder/effective_rank`` -> ``[S]``.

    Names are ``<layer>/<metric>``, ``<network>/<metric>`` for ``agent`` and ``mixer``, and
    ``hessian_max``. ``updates`` is their number so far, ``window`` the length of the meters'
    running means in updates, ``slots`` the number of graft slots of a neuron.
    """
    rows = []
    for s in range(len(collected.hessian)):
        seed = jax.tree.map(lambda leaf, s=s: leaf[s], collected)
        layers: dict[str, Numbers] = {}
        neurons = _neurons(seed.view, updates, window, slots)
        for part in (_layers(seed), _features(seed.view), neurons):
            for name, numbers in part.items():
                layers.setdefault(name, {}).update(numbers)
        row = {f"{name}/{m}": value for name, n in layers.items() for m, value in n.items()}
        rows.append(row | _networks(seed, layers) | {"hessian_max": float(seed.hessian)})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _layers(collected: Collected) -> dict[str, Numbers]:
    """Measure weights, gradients and steps of every layer with a kernel, of one seed."""
    trees = collected.weights, collected.gradient, collected.step
    weights, gradient, step = (kernels(tree) for tree in trees)
    single = [kernels(tree) for tree in collected.single]
    layers = {}
    for name, weight in weights.items():
        gradient_norms = np.mean([column_norms(one[name]) for one in single], axis=0)
        activity = gradient_norms / (column_norms(weight) + EPS)
        size = float(np.linalg.norm(weight))
        layers[name] = metrics.update_activity(activity) | {
            "weight_norm": size,
            "grad_norm": float(np.linalg.norm(gradient[name])),
            "update_ratio": float(np.linalg.norm(step[name])) / (size + EPS),
        }
        if name in collected.agents:
            layers[name]["conflict"] = metrics.conflict(*collected.agents[name])
    return layers


def _features(view: View) -> dict[str, Numbers]:
    """Measure activations and ranks of the layers whose outputs are recorded; the recurrent layer
    has no other metrics, since each of its gates has a kernel of its own."""
    rows = {name: h[view.counted[name]] for name, h in view.features.items()}
    return {name: metrics.activations(h) | metrics.ranks(h) for name, h in rows.items()}


def _neurons(view: View, updates: int, window: int, slots: int) -> dict[str, Numbers]:
    """Measure running means and graft slots of the operable layers."""
    numbers: dict[str, Numbers] = {}
    for name, running in view.meter.items():
        now = metrics.update_activity(running.mean)
        revived = metrics.revival(running.mean, running.age, updates, window)
        numbers[name] = {f"running_{m}": value for m, value in now.items()}
        numbers[name]["revival_pct"] = revived
    for name, used in view.used.items():
        full = metrics.pct(used == slots)
        numbers.setdefault(name, {}).update(
            slots_used_mean=float(np.mean(used)), saturated_pct=full
        )
    return numbers


POOLED = (
    "stagnant_pct", "volatile_pct", "dormant_pct", "dormant_025_pct", "overactive_pct", "dead_pct",
)  # fmt: skip
"""percentages that are also given for a whole network, over its operable layers"""


def _networks(collected: Collected, layers: dict[str, Numbers]) -> Numbers:
    """Measure the agent and the mixer, each as a whole."""
    numbers: Numbers = {}
    for network, weights in collected.weights.items():
        numbers |= {f"{network}/{m}": v for m, v in _pooled(collected, layers, network).items()}
        for name, tree in (("weight_norm", weights), ("grad_norm", collected.gradient[network])):
            numbers[f"{network}/{name}"] = float(np.linalg.norm(_vector(tree)))
        rows = np.stack([_vector(window[network]) for window in collected.single])
        covariance = metrics.gradient_covariance(rows @ rows.T)
        numbers |= {f"{network}/{m}": value for m, value in covariance.items()}
    for network, fit in collected.fits.items():
        numbers[f"{network}/plasticity"] = float(fit.variance - fit.loss)
        numbers[f"{network}/fit_loss"] = float(fit.loss) / (float(fit.variance) + EPS)
    return numbers


def _vector(tree: PyTree) -> Float[np.ndarray, "P"]:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64)


def _pooled(collected: Collected, layers: dict[str, Numbers], network: str) -> Numbers:
    widths = {
        name: h.shape[-1]
        for name, h in collected.view.features.items()
        if name.startswith(f"{network}/") and "stagnant_pct" in layers[name]
    }
    if not widths:
        return {}

    def mean(metric: str) -> float:
        values = [layers[name][metric] for name in widths]
        return float(np.average(values, weights=list(widths.values())))

    return {metric: mean(metric) for metric in POOLED}
