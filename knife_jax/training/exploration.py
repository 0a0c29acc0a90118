"""Action selection: greedy, ε-greedy, and the ε schedule."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.clock import Clock


def greedy_actions(
    values: Float[Array, "*X A"], avail_actions: Bool[Array, "*X A"]
) -> Int[Array, "*X"]:
    """Return the available action with the highest value (action masking).

    An agent has at least one available action at every step: a dead one, or one whose episode has
    ended, has those that its environment gives it, "stop" as a rule. Their values still enter the
    mixer, unless ``algo.mask_dead`` makes them 0 there.
    """
    return jnp.argmax(jnp.where(avail_actions, values, -jnp.inf), axis=-1)


def epsilon_greedy(
    key: PRNGKeyArray,
    values: Float[Array, "E N A"],
    avail_actions: Bool[Array, "E N A"],
    epsilon: Float[Array, ""],
) -> Int[Array, "E N"]:
    """Return each agent's action: uniformly random with chance ε, else greedy; always available."""
    drawn = jax.random.uniform(key, (*values.shape[:-1], 1 + values.shape[-1]))
    coin, lottery = drawn[..., :1], drawn[..., 1:]
    return greedy_actions(jnp.where(coin < epsilon, lottery, values), avail_actions)


def linear(
    start: float, end: float, env_steps: int, round_steps: int = 1
) -> Callable[[Clock], Float[Array, ""]]:
    """Make QMIX's epsilon schedule: from ``start`` to ``end`` over ``env_steps``, then constant.

    Args:
      start: ε at the first step.
      end: ε from ``env_steps`` on.
      env_steps: length of the decay in environment steps.
      round_steps: environment steps in a round of the Clock.
    """

    def epsilon(clock: Clock) -> Float[Array, ""]:
        taken = clock.rounds.astype(jnp.float32) * float(round_steps)
        return start + (end - start) * jnp.minimum(taken / float(max(env_steps, 1)), 1.0)

    return epsilon
