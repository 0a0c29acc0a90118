"""Means over the transitions of a batch, on bare arrays."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def masked_mean(x: Float[Array, "*X"], mask: Bool[Array, "*X"]) -> Float[Array, ""]:
    """Return the mean over the entries of the mask; 0 if the mask is empty."""
    return jnp.sum(jnp.where(mask, x, 0.0)) / jnp.maximum(jnp.sum(mask), 1)
