"""A ring of windows. Where to write and how much is filled follow from the Clock.

The write position is therefore the same for all seeds: adding is one in-place slice update, not
a scatter, and nothing about the ring itself has to be stored.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from knife_jax.types import Windows

BATCH_AXIS = Windows(
    obs=1, state=1, legal=1, first=1, action=1, reward=1, terminated=1, valid=1, hidden=0,
    previous=0,
)  # fmt: skip
"""where B is in each leaf"""


def empty(example: Windows, capacity: int) -> Windows:
    """An all-zero ring of ``capacity`` windows shaped like those of ``example``."""

    def zeros(leaf, axis):
        shape = list(leaf.shape)
        shape[axis] = capacity
        return jnp.zeros(shape, leaf.dtype)

    return jax.tree.map(zeros, example, BATCH_AXIS)


def add(ring: Windows, windows: Windows, added: Int[Array, ""]) -> Windows:
    """Write B windows after the ``added`` ones so far, over the oldest when the ring is full.

    The capacity must be a multiple of B.
    """
    capacity, batch = ring.previous.shape[0], windows.previous.shape[0]
    if capacity % batch:
        raise ValueError(f"capacity {capacity} is not a multiple of {batch} windows")
    start = added % capacity
    return jax.tree.map(
        lambda old, new, axis: jax.lax.dynamic_update_slice_in_dim(old, new, start, axis),
        ring,
        windows,
        BATCH_AXIS,
    )


def sample(ring: Windows, key: PRNGKeyArray, batch: int, added: Int[Array, ""]) -> Windows:
    """``batch`` windows, uniformly with replacement, from the ``added`` ones still there."""
    capacity = ring.previous.shape[0]
    index = jax.random.randint(key, (batch,), 0, jnp.minimum(added, capacity))

    def take(leaf, axis):
        if axis == 0:
            return leaf[index]
        # one index per row of the result: a gather along the second axis would transpose
        rows = jnp.arange(leaf.shape[0])[:, None] * capacity + index
        return jnp.take(leaf.reshape(-1, *leaf.shape[2:]), rows, axis=0, mode="clip")

    return jax.tree.map(take, ring, BATCH_AXIS)
