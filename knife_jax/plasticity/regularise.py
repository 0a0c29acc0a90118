"""Ordinary optax transformations that keep plasticity, for the optimiser's chain."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from knife_jax.checks import checked
from knife_jax.config.schema import Positive
from knife_jax.types import PyTree


class Initial(NamedTuple):
    """The parameters that training began with."""

    initial: PyTree


class Norms(NamedTuple):
    """The norm of every kernel when training began; unused for other leaves."""

    norm: PyTree


@checked
def toward_initial(strength: Positive) -> optax.GradientTransformation:
    """Add 2λ (θ - θ_0) to the gradient, that of L + λ Σ (θ - θ_0)² (L2 Init, Kumar et al. 2023).

    To be the first of the chain, so that clipping and the optimiser see the whole gradient.

    Args:
      strength: λ.

    Returns:
      An optax transformation, whose state holds a copy of the initial parameters (eq. 1).
    """

    def update(grads, state, params):
        pulled = jax.tree.map(
            lambda g, p, p_0: g + 2.0 * strength * (p - p_0), grads, params, state.initial
        )
        return pulled, state

    return optax.GradientTransformation(lambda p: Initial(jax.tree.map(jnp.copy, p)), update)


def _norm(leaf: Array) -> Array:
    return jnp.linalg.norm(leaf.reshape(-1))


def fixed_norms() -> optax.GradientTransformation:
    """Scale every kernel back to its initial Frobenius norm ρ: W ← ρ W / ‖W‖.

    To be the last of the chain (NaP, Lyle et al. 2024, alg. 1). Biases are free.

    Returns:
      An optax transformation, whose state holds the norms.
    """

    def update(updates, state, params):
        def projected(update, old, norm):
            if old.ndim < 2:
                return update
            new = old + update
            return norm * new / jnp.maximum(_norm(new), 1e-12) - old

        return jax.tree.map(projected, updates, params, state.norm), state

    return optax.GradientTransformation(lambda p: Norms(jax.tree.map(_norm, p)), update)
