"""Whom to operate on."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from knife_jax.plasticity.base import Select


def _lowest(
    scores: Float[Array, "W"], among: Bool[Array, "W"], count: Int[Array, ""]
) -> Bool[Array, "W"]:
    """The ``count`` lowest scores among the neurons that may be chosen."""
    order = jnp.argsort(jnp.where(among, scores, jnp.inf))
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.size))
    return among & (rank < count)


def below(threshold: float, cap: float) -> Select:
    """The neurons whose score is below the threshold, the lowest first, at most a share ``cap``
    of each layer."""

    def select(scores, allowed, key):
        del key

        def one(score, may):
            among = may & (score < threshold)
            return _lowest(score, among, jnp.asarray(math.floor(cap * score.size)))

        return {name: one(scores[name], allowed[name]) for name in scores}

    return select


def random_like(select: Select) -> Select:
    """As many neurons in each layer as ``select`` would choose, but drawn at random: the control
    of every selection rule."""

    def selected(scores, allowed, key):
        counts = {name: jnp.sum(c) for name, c in select(scores, allowed, key).items()}
        keys = dict(zip(scores, jax.random.split(key, len(scores)), strict=True))
        return {
            name: _lowest(
                jax.random.uniform(keys[name], scores[name].shape), allowed[name], counts[name]
            )
            for name in scores
        }

    return selected
