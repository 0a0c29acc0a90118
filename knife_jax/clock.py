"""Scalars and triggers as functions of the Clock.

The Clock counts rounds. What is given in environment steps comes with how many of them a round has;
1, the default, is for a Clock that counts single steps.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from knife_jax.checks import checked
from knife_jax.config.schema import Count, Size, Steps, StepsOrZero

NEVER = 2**31 - 1
"""more than any count of the Clock: a run with so many rounds is refused"""


class Clock(NamedTuple):
    """Where training stands. Passed in and never batched, so that triggers on it stay branches.

    Environment steps are counted in rounds, of equally many each: int32 holds 2,147,483,647, and a
    run has more steps than that after a day on an accelerator.
    """

    rounds: Int[Array, ""]
    updates: Int[Array, ""]
    task: Int[Array, ""]
    replay_since: Int[Array, ""]
    """the rounds at which the replay was last empty"""
    task_rounds: Int[Array, ""]
    """the rounds before the first one of this task"""
    task_since: Int[Array, ""]
    """the gradient steps made before the first one of this task"""
    budget: Int[Array, ""]
    """the rounds after which training ends"""
    planned: Int[Array, ""]
    """the gradient steps that will then have been made"""

    @classmethod
    def zero(cls) -> Clock:
        return cls(*(jnp.zeros((), jnp.int32) for _ in cls._fields))


Trigger = Callable[[Clock], Int[Array, ""]]
"""How often an event was due up to a Clock. It fires when this count grows, so an interval that
falls between two Clocks is never missed, and the count itself bounds how often it has fired."""


def never(clock: Clock) -> Int[Array, ""]:
    """The trigger that stays shut."""
    return jnp.zeros_like(clock.rounds)


@checked
def every_env_steps(interval: Steps, round_steps: Steps = 1) -> Trigger:
    """Due as each ``interval`` of environment steps has been taken, once a round at most."""
    share = fraction_below(Fraction(round_steps, max(interval, round_steps)))
    return lambda clock: times(clock.rounds, share)


@checked
def every_updates(interval: Count) -> Trigger:
    """Due each time another ``interval`` gradient steps have been taken."""
    return lambda clock: clock.updates // interval


@checked
def once(env_steps: StepsOrZero, round_steps: Steps = 1) -> Trigger:
    """Due one time, when ``env_steps`` environment steps have been taken."""
    return lambda clock: jnp.where(clock.rounds >= rounds_of(env_steps, round_steps), 1, 0)


def at_task_switch(clock: Clock) -> Int[Array, ""]:
    """Due each time the task sequence moves on."""
    return clock.task


@checked
def after_task_switch(updates: Size) -> Trigger:
    """Due once in each task but the first, after so many gradient steps of it; in a task with
    fewer, as the next one begins."""

    def count(clock: Clock) -> Int[Array, ""]:
        reached = clock.updates - clock.task_since >= updates
        return jnp.where(clock.task > 0, clock.task - 1 + reached, 0)

    return count


@checked
def with_late_switches(trigger: Trigger, updates: Size) -> Trigger:
    """The trigger, which sees a task switch after so many gradient steps of the new task."""
    late = after_task_switch(updates)
    return lambda clock: trigger(clock._replace(task=late(clock)))


@checked
def any_of(*triggers: Trigger) -> Trigger:
    """Due whenever one of the triggers is."""
    return lambda clock: sum((trigger(clock) for trigger in triggers), never(clock))


def crossed(trigger: Trigger, before: Clock, after: Clock) -> Array:
    """Whether the trigger came due between two Clocks."""
    return trigger(after) > trigger(before)


def rounds_of(env_steps: int, round_steps: int) -> int:
    """The rounds that take at least so many environment steps; no Clock shows more than ``NEVER``
    of them."""
    return min(-(-env_steps // round_steps), NEVER)


def fraction_below(x: Fraction) -> Fraction:
    """The largest p/q of at most x with q up to ``NEVER``: ⌊n p/q⌋ = ⌊n x⌋ for all such n.

    For m/n ≤ x is itself a fraction of that kind, so that m/n ≤ p/q.
    """
    near = x.limit_denominator(NEVER)
    if near <= x:
        return near
    # its neighbour below, p'/q': p q' - p' q = 1 with the largest q'
    p, q = near.numerator, near.denominator
    below = pow(p, -1, q)
    below += (NEVER - below) // q * q
    return Fraction((p * below - 1) // q, below)


def times(n: Int[Array, ""], x: Fraction) -> Int[Array, ""]:
    """⌊n x⌋ for a count and a fraction of at most 1, by numbers of 32 bits alone."""
    p, q = x.numerator, x.denominator
    n = n.astype(jnp.uint32)
    whole, rest = n // q * p, n % q
    if p * q < 2**32:
        return (whole + rest * p // q).astype(jnp.int32)

    def plus(quotient, remainder, more):
        total = remainder + more
        over = total >= q
        return quotient + over, jnp.where(over, total - q, total)

    quotient = remainder = jnp.zeros_like(n)
    for bit in f"{p:b}":  # quotient · q + remainder = rest · the bits of p so far
        quotient, remainder = plus(2 * quotient, remainder, remainder)
        if bit == "1":
            quotient, remainder = plus(quotient, remainder, rest)
    return (whole + quotient).astype(jnp.int32)
