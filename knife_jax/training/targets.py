"""Temporal-difference targets on bare arrays, time-major: double Q-learning and TD(λ)."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def take_action_values(
    values: Float[Array, "*X A"], action: Int[Array, "*X"]
) -> Float[Array, "*X"]:
    """Return the value of the action that was taken."""
    return jnp.take_along_axis(values, action[..., None], axis=-1)[..., 0]


def selector(
    online: Float[Array, "*X A"], target: Float[Array, "*X A"], *, double_q: bool
) -> Float[Array, "*X A"]:
    """Return the values whose greedy action the target network then evaluates.

    In double Q-learning (van Hasselt et al. 2016) they are those of the online network, else those
    of the target network itself, whose maximum is biased upwards.
    """
    return online if double_q else target


def td_lambda_targets(
    reward: Float[Array, "T B"],
    terminated: Bool[Array, "T B"],
    valid: Bool[Array, "T B"],
    next_value: Float[Array, "T B"],
    *,
    gamma: float,
    lam: float,
) -> Float[Array, "T B"]:
    """Return the TD(λ) targets of windows that may hold several episodes.

    G_t = r_t + γ (1 - terminated_t) [(1 - λ_t) V_{t+1} + λ_t G_{t+1}], where λ_t = λ if step t + 1
    has a transition of its own and 0 otherwise (the last step of a truncated episode, and the step
    after the window), so that a truncated episode bootstraps from the value of its true last
    observation and nothing leaks from one episode into another. λ = 0 is the one-step target.
    ``next_value[t]`` is V_{t+1}, the value of the step that transition t leads to.

    Sutton & Barto (2018), eq. 12.20; PyMARL2's recursion on episodes that terminate. Entries at
    invalid steps mean nothing and must be masked out.
    """
    chex.assert_equal_shape([reward, terminated, valid, next_value])
    discount = gamma * (1.0 - terminated)
    if lam == 0:
        return reward + discount * next_value
    continues = jnp.concatenate([valid[1:], jnp.zeros_like(valid[:1])])
    lambdas = lam * continues

    def backwards(ahead, step):
        r, d, v, lam_t = step
        target = r + d * ((1.0 - lam_t) * v + lam_t * ahead)
        return target, target

    steps = (reward, discount, next_value, lambdas)
    _, targets = jax.lax.scan(backwards, next_value[-1], steps, reverse=True)
    return targets
