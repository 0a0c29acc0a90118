"""One seed split over devices, data-parallel: the collectives between its shards.

Each shard plays its part of the environments, keeps their windows and learns from its part of a
batch. Networks, optimiser and method are equal on all of them, since all use equal sums.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, PRNGKeyArray

from knife_jax.types import Flat, PyTree

AXIS = "data"
"""the name of the axis that the shards are mapped over"""

SAME, SEEDS, SHARDS = PartitionSpec(), PartitionSpec("seed"), PartitionSpec("seed", AXIS)
"""how an array lies on the devices: whole on each of them; axis 0 is that of the seeds; axis 1 is
also that of the shards"""


class Shards(NamedTuple):
    """The number of equal shards of one seed. With one, all collectives are the identity."""

    n: int = 1

    def own(self, key: PRNGKeyArray) -> PRNGKeyArray:
        """A different key in each shard."""
        return key if self.n == 1 else jax.random.fold_in(key, jax.lax.axis_index(AXIS))

    def total(self, tree: PyTree) -> PyTree:
        """The sums over all shards."""
        return tree if self.n == 1 else jax.lax.psum(tree, AXIS)

    def largest(self, x: Array) -> Array:
        """The largest of all shards."""
        return x if self.n == 1 else jax.lax.pmax(x, AXIS)

    def whole(self, tree: PyTree, axes: PyTree) -> PyTree:
        """The parts of all shards, joined along an axis of each leaf."""
        if self.n == 1:
            return tree
        return jax.tree.map(
            lambda leaf, axis: jax.lax.all_gather(leaf, AXIS, axis=axis, tiled=True), tree, axes
        )

    def means(self, *parts: tuple[PyTree, Array]) -> tuple[PyTree, ...]:
        """Means over all shards: Σ c m / Σ c of the (m, c) of each shard, m being a tree of means
        over c items; 0 if Σ c is 0. Gradients of such means, too.

        All are exchanged as one vector, because each exchange has a latency of its own.
        """
        if self.n == 1:
            return tuple(mean for mean, _ in parts)

        flat = [Flat.of(mean) for mean, _ in parts]
        counts = [c.astype(jnp.float32) for _, c in parts]
        sums = [part.numbers * c for part, c in zip(flat, counts, strict=True)]
        totals = Flat.of((sums, counts))
        sums, counts = totals.replace(numbers=jax.lax.psum(totals.numbers, AXIS)).tree
        return tuple(
            part.replace(numbers=total / jnp.maximum(c, 1)).tree
            for part, total, c in zip(flat, sums, counts, strict=True)
        )


WHOLE = Shards()
"""a seed that is not split"""
