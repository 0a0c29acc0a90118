"""Action selection."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.training.losses import masked_argmax


def epsilon_greedy(
    key: PRNGKeyArray,
    values: Float[Array, "E N A"],
    avail_actions: Bool[Array, "E N A"],
    epsilon: Float[Array, ""],
) -> Int[Array, "E N"]:
    """Each agent on its own: with chance ε a uniformly random legal action, else the best."""
    coin_key, action_key = jax.random.split(key)
    explore = jax.random.uniform(coin_key, values.shape[:-1]) < epsilon
    lottery = jax.random.uniform(action_key, values.shape)
    return masked_argmax(jnp.where(explore[..., None], lottery, values), avail_actions)
