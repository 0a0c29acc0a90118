"""What a policy takes at a step, and whether it fits together."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from knife_jax.envs.base import EnvSpec

Given = Array | np.ndarray
"""arrays of jax or of NumPy"""


class Carry(NamedTuple):
    """What agents carry from one step of an episode to the next."""

    memory: Float[Array, "*X N H"]
    """the recurrent state"""
    last_action: Int[Array, "*X N"]
    """-1 before the first action. If others are taken than those that ``act`` chose, put them
    here: ``carry._replace(last_action=actions)``."""


class Sizes(NamedTuple):
    """The sizes of what a policy takes."""

    lead: tuple[int, ...]
    """``(S,)`` for a policy of several seeds, else empty"""
    spec: EnvSpec
    memory: int
    """H"""


def checked(sizes: Sizes, obs: Any, carry: Any, first: Any, **of_actions: Any) -> Bool[Given, "*X"]:
    """Return ``first``, or by default that no episode begins.

    Args:
      sizes: of the policy.
      obs: ``[*X, N, O]``.
      carry: a ``Carry``.
      first: ``[*X]``, or None.
      of_actions: further arrays ``[*X, N, A]``, by name.

    Raises:
      ValueError: one of them is not of the size that goes with ``obs``, or this not of its own.
    """
    lead, spec, memory = sizes
    own = (spec.n_agents, spec.obs_size)
    given = _shape("obs", obs)
    axes = given[:-2]
    if given[-2:] != own or axes not in (lead, (*lead, *axes[-1:])):
        alone, together = ([*lead, *e, *own] for e in ((), ("E",)))
        shown = str(together).replace("'", "")
        raise ValueError(f"obs is {[*given]}: must be {alone} or {shown}")
    if not isinstance(carry, Carry):
        kind = type(carry).__name__
        raise ValueError(f"carry is of type {kind}: must be what initial_carry or act returned")
    first = jnp.zeros(axes, bool) if first is None else first
    needed = {
        "carry.memory": (carry.memory, (*given[:-1], memory)),
        "carry.last_action": (carry.last_action, given[:-1]),
        "first": (first, axes),
        **{name: (array, (*given[:-1], spec.n_actions)) for name, array in of_actions.items()},
    }
    for name, (array, size) in needed.items():
        if (there := _shape(name, array)) != size:
            raise ValueError(f"{name} is {[*there]}: must be {[*size]}, as obs is {[*given]}")
    return first


def _shape(name: str, array: Any) -> tuple[int, ...]:
    """The shape of an argument. Raises ``ValueError`` if it is no array."""
    if not hasattr(array, "shape"):
        raise ValueError(f"{name} is of type {type(array).__name__}: must be an array")
    return tuple(array.shape)
