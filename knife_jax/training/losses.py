"""Targets and losses on bare arrays, time-major, without configuration or state."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def masked_argmax(
    values: Float[Array, "*X A"], avail_actions: Bool[Array, "*X A"]
) -> Int[Array, "*X"]:
    """The best legal action."""
    return jnp.argmax(jnp.where(avail_actions, values, -jnp.inf), axis=-1)


def chosen(values: Float[Array, "*X A"], action: Int[Array, "*X"]) -> Float[Array, "*X"]:
    """The value of the action that was taken."""
    return jnp.take_along_axis(values, action[..., None], axis=-1)[..., 0]


def td_lambda_targets(
    reward: Float[Array, "T B"],
    terminated: Bool[Array, "T B"],
    valid: Bool[Array, "T B"],
    next_value: Float[Array, "T B"],
    *,
    gamma: float,
    lam: float,
) -> Float[Array, "T B"]:
    """TD(λ) targets of windows that may hold several episodes.

    G_t = r_t + γ (1 - terminated_t) [(1 - λ_t) V_{t+1} + λ_t G_{t+1}], where λ_t = λ if row t + 1
    has a transition of its own and 0 otherwise (the last row of a truncated episode, and the row
    after the window), so that a truncated episode bootstraps from the value of its true last
    observation and nothing leaks from one episode into another. λ = 0 is the one-step target.
    ``next_value[t]`` is V_{t+1}, the value of the row that transition t leads to.

    Sutton & Barto (2018), eq. 12.20; PyMARL2's recursion on episodes that terminate. Entries at
    invalid rows mean nothing and must be masked out.
    """
    chex.assert_equal_shape([reward, terminated, valid, next_value])
    discount = gamma * (1.0 - terminated)
    if lam == 0:
        return reward + discount * next_value
    continues = jnp.concatenate([valid[1:], jnp.zeros_like(valid[:1])])
    lambdas = lam * continues

    def backwards(ahead, row):
        r, d, v, lam_t = row
        target = r + d * ((1.0 - lam_t) * v + lam_t * ahead)
        return target, target

    rows = (reward, discount, next_value, lambdas)
    _, targets = jax.lax.scan(backwards, next_value[-1], rows, reverse=True)
    return targets


def masked_mean(x: Float[Array, "*X"], mask: Bool[Array, "*X"]) -> Float[Array, ""]:
    """The mean over the entries of the mask; 0 where the mask is empty."""
    return jnp.sum(jnp.where(mask, x, 0.0)) / jnp.maximum(jnp.sum(mask), 1)
