"""The temporal-difference loss on bare arrays."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def td_loss(
    q_tot: Float[Array, "T B"], target: Float[Array, "T B"], counted: Bool[Array, "T B"]
) -> Float[Array, ""]:
    """Return the mean of (Q_tot - target)² over the transitions that count (Rashid et al. 2018,
    eq. 5); 0 if none does."""
    return masked_mean(jnp.square(q_tot - target), counted)


def masked_mean(x: Float[Array, "*X"], mask: Bool[Array, "*X"]) -> Float[Array, ""]:
    """Return the mean over the entries of the mask; 0 if the mask is empty."""
    return jnp.sum(jnp.where(mask, x, 0.0)) / jnp.maximum(jnp.sum(mask), 1)
