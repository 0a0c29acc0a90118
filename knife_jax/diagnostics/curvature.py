"""Kernels and gradients of a network in NumPy, and the curvature of a loss.

One compiled gradient is called from the host many times: compiling it again for each use, or a
Hessian-vector product, would cost more than running it a hundred times. S seeds, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from knife_jax.types import PyTree

STEP = 1e-2
"""length of the step in parameter space that takes the difference of two gradients"""

Kernels = dict[str, Float[np.ndarray, "*S I W"]]


def kernels(params: PyTree) -> Kernels:
    """Return the kernel of every layer, by its path joined by slashes.

    Each gate of a GRU is a layer of its own: their gradients differ in size, and compared with
    each other most gates would look stagnant.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    named = [([key.key for key in path], np.asarray(leaf)) for path, leaf in leaves]
    return {"/".join(path[:-1]): leaf for path, leaf in named if path[-1] == "kernel"}


def column_norms(kernel: Float[np.ndarray, "*S I W"]) -> Float[np.ndarray, "*S W"]:
    """Return the norm of each neuron's incoming weights."""
    return np.linalg.norm(kernel, axis=-2)


def flatten(tree: PyTree) -> Float[np.ndarray, "S P"]:
    """Join all leaves ``[S, ...]`` into one row per seed."""
    rows = [np.asarray(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(rows, axis=1)


def unflatten_like(tree: PyTree, rows: Float[np.ndarray, "S P"]) -> PyTree:
    """Invert ``flatten``, in the shapes of ``tree``."""
    leaves, structure = jax.tree.flatten(tree)
    cuts = np.cumsum([leaf[0].size for leaf in leaves])[:-1]
    parts = np.split(rows, cuts, axis=1)
    shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(structure, shaped)


class AgentSums(NamedTuple):
    """Gradient norms of each neuron of one layer, over agents."""

    norm_of_sum: Float[np.ndarray, "S W"]
    sum_of_norms: Float[np.ndarray, "S W"]


def sum_over_agents(per_agent: list[Kernels]) -> dict[str, AgentSums]:
    """Return ‖Σ_a g_a‖ and Σ_a ‖g_a‖ of every layer, from the gradients of each agent."""
    return {
        name: AgentSums(
            column_norms(np.sum([grads[name] for grads in per_agent], axis=0)),
            np.sum([column_norms(grads[name]) for grads in per_agent], axis=0),
        )
        for name in per_agent[0]
    }


def largest_eigenvalue(
    gradient: Callable[[PyTree], PyTree], params: PyTree, steps: int, rng: np.random.Generator
) -> Float[np.ndarray, "S"]:
    """Estimate the eigenvalue of the Hessian that is largest in size, by power iteration.

    Hessian-vector products are central differences of the gradient. Returned is the Rayleigh
    quotient of the last vector: a lower bound if the largest eigenvalue is positive.
    """
    at = flatten(params).astype(np.float64)
    vector = rng.normal(size=at.shape)
    value = np.zeros(len(at))
    for _ in range(steps):
        vector /= np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-30)
        moved = [(at + side * STEP * vector).astype(np.float32) for side in (1, -1)]
        ahead, behind = (flatten(gradient(unflatten_like(params, rows))) for rows in moved)
        product = (ahead.astype(np.float64) - behind) / (2 * STEP)
        value = np.sum(vector * product, axis=1)
        vector = product
    return value
