"""Scalars and gates as functions of the Clock."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from knife_jax.checks import checked
from knife_jax.schema import Count, Size
from knife_jax.types import Clock

Gate = Callable[[Clock], Int[Array, ""]]
"""How often an event was due up to a Clock. It fires when this count grows, so an interval that
falls between two Clocks is never missed, and the count itself bounds how often it has fired."""


def never(clock: Clock) -> Int[Array, ""]:
    """The gate that stays shut."""
    return jnp.zeros_like(clock.env_steps)


@checked
def every_env_steps(interval: Count) -> Gate:
    """Due each time another ``interval`` environment steps have been taken."""
    return lambda clock: clock.env_steps // interval


@checked
def every_updates(interval: Count) -> Gate:
    """Due each time another ``interval`` gradient steps have been taken."""
    return lambda clock: clock.updates // interval


@checked
def once(env_steps: Size) -> Gate:
    """Due one time, when ``env_steps`` environment steps have been taken."""
    return lambda clock: jnp.where(clock.env_steps >= env_steps, 1, 0)


def at_task_switch(clock: Clock) -> Int[Array, ""]:
    """Due each time the task sequence moves on."""
    return clock.task


@checked
def after_task_switch(updates: Size) -> Gate:
    """Due once in each task but the first, after so many gradient steps of it; in a task with
    fewer, as the next one begins."""

    def count(clock: Clock) -> Int[Array, ""]:
        reached = clock.updates - clock.task_since >= updates
        return jnp.where(clock.task > 0, clock.task - 1 + reached, 0)

    return count


@checked
def any_of(*gates: Gate) -> Gate:
    """Due whenever one of the gates is."""
    return lambda clock: sum((gate(clock) for gate in gates), never(clock))


def crossed(gate: Gate, before: Clock, after: Clock) -> Array:
    """Whether the gate came due between two Clocks."""
    return gate(after) > gate(before)


def linear(start: float, end: float, env_steps: int) -> Callable[[Clock], Float[Array, ""]]:
    """From ``start`` to ``end`` over ``env_steps``, then constant (exploration rate of QMIX)."""

    def value(clock: Clock) -> Float[Array, ""]:
        done = jnp.minimum(clock.env_steps / max(env_steps, 1), 1.0)
        return start + (end - start) * done

    return value
