"""One seed split over devices: what the shares of it have to tell each other.

Each share plays its part of the environments, keeps their windows and learns from its part of a
batch. Networks, optimiser and method are the same in all of them, since all act on the same sums.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec
from jaxtyping import Array, PRNGKeyArray

from knife_jax.types import PyTree

AXIS = "data"
"""the name of the axis that the shares are mapped over"""

SAME, SEEDS, SHARES = PartitionSpec(), PartitionSpec("seed"), PartitionSpec("seed", AXIS)
"""how an array lies on the devices: whole on each of them; axis 0 is that of the seeds; axis 1 is
that of the shares beside it"""


class Shards(NamedTuple):
    """How many equal shares one seed has. With one, there is nothing to tell."""

    n: int = 1

    def own(self, key: PRNGKeyArray) -> PRNGKeyArray:
        """Another key in each share."""
        return key if self.n == 1 else jax.random.fold_in(key, jax.lax.axis_index(AXIS))

    def total(self, tree: PyTree) -> PyTree:
        """The sums over all shares."""
        return tree if self.n == 1 else jax.lax.psum(tree, AXIS)

    def largest(self, x: Array) -> Array:
        """The largest of all shares."""
        return x if self.n == 1 else jax.lax.pmax(x, AXIS)

    def whole(self, tree: PyTree, axes: PyTree) -> PyTree:
        """The parts of all shares, joined along an axis of each leaf."""
        if self.n == 1:
            return tree
        return jax.tree.map(
            lambda leaf, axis: jax.lax.all_gather(leaf, AXIS, axis=axis, tiled=True), tree, axes
        )

    def means(self, *parts: tuple[PyTree, Array]) -> tuple[PyTree, ...]:
        """Means over all shares: Σ c m / Σ c of the (m, c) that each gives, m being a tree of means
        over c things; 0 where nobody has any. Gradients of such means, too.

        One vector is exchanged: every exchange costs its own wait.
        """
        if self.n == 1:
            return tuple(mean for mean, _ in parts)

        def times(mean: PyTree, c: Array) -> PyTree:
            return jax.tree.map(lambda m: m * c, mean), c.astype(jnp.float32)

        def over(sums: PyTree, c: Array) -> PyTree:
            return jax.tree.map(lambda s: s / jnp.maximum(c, 1), sums)

        flat, shaped = ravel_pytree([times(*part) for part in parts])
        return tuple(over(*part) for part in shaped(jax.lax.psum(flat, AXIS)))


WHOLE = Shards()
"""a seed that is not split"""
