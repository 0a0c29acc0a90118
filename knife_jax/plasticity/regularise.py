"""Methods that belong to the optimiser's chain: ordinary optax transformations."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from knife_jax.checks import checked
from knife_jax.config.resets import L2InitConfig
from knife_jax.config.schema import Positive
from knife_jax.nets.wiring import Wiring
from knife_jax.plasticity.base import Extras, PlasticityTransform
from knife_jax.plasticity.combine import identity
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

    def init(params):
        return Initial(jax.tree.map(jnp.copy, params))

    def update(updates, state, params=None):
        pulled = jax.tree.map(
            lambda g, p, p_0: g + 2.0 * strength * (p - p_0), updates, params, state.initial
        )
        return pulled, state

    return optax.GradientTransformation(init, update)


def _norm(leaf: Array) -> Array:
    return jnp.linalg.norm(leaf.reshape(-1))


def fixed_norms() -> optax.GradientTransformation:
    """Scale every kernel back to its initial Frobenius norm ρ: W ← ρ W / ‖W‖.

    To be the last of the chain (NaP, Lyle et al. 2024, alg. 1). Biases are free.

    Returns:
      An optax transformation, whose state holds the norms.
    """

    def init(params):
        return Norms(jax.tree.map(_norm, params))

    def update(updates, state, params=None):
        def projected(update, old, norm):
            if old.ndim < 2:
                return update
            new = old + update
            return norm * new / jnp.maximum(_norm(new), 1e-12) - old

        return jax.tree.map(projected, updates, params, state.norm), state

    return optax.GradientTransformation(init, update)


@checked
def l2_init(wiring: Wiring, *, strength: Positive = L2InitConfig.strength) -> PlasticityTransform:
    """Pull weights towards their initial values: L2 Init (Kumar et al. 2023).

    Args:
      wiring: Any; all parameters are pulled.
      strength: Weight λ of the squared distance in the loss.

    Returns:
      The method: no surgery, but ``extras.optimiser`` puts ``toward_initial`` before the optimiser.
    """
    del wiring
    extras = Extras(optimiser=lambda tx: optax.chain(toward_initial(strength), tx))
    return replace(identity(), extras=extras)


@checked
def nap(wiring: Wiring) -> PlasticityTransform:
    """Normalise and project (Lyle et al. 2024): kernels keep their initial norm.

    Args:
      wiring: Any; all kernels are projected. The network itself must have layer normalisation
        (``layer_norm`` of ``GraftedDense``).

    Returns:
      The method: no surgery, but ``extras.optimiser`` puts ``fixed_norms`` after the optimiser.
    """
    del wiring
    return replace(identity(), extras=Extras(optimiser=lambda tx: optax.chain(tx, fixed_norms())))
