"""Which neurons to operate on."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from knife_jax.checks import checked
from knife_jax.config.schema import NotNegative, Positive, PositiveFraction
from knife_jax.plasticity.base import Chosen, PerNeuron, Select


def ranks(scores: Float[Array, "W"]) -> Int[Array, "W"]:
    """Rank scores: 0 for the lowest, W - 1 for the highest; of equal ones the first is lower."""
    order = jnp.arange(scores.size)
    lower = (scores < scores[:, None]) | ((scores == scores[:, None]) & (order < order[:, None]))
    return jnp.sum(lower, axis=1, dtype=jnp.int32)


def lowest(
    scores: Float[Array, "W"], among: Bool[Array, "W"], count: Int[Array, ""]
) -> Bool[Array, "W"]:
    """Choose the ``count`` lowest scores among the allowed neurons."""
    return among & (ranks(jnp.where(among, scores, jnp.inf)) < count)


@checked
def below(threshold: Positive, cap: PositiveFraction) -> Select:
    """Choose the neurons whose score is below a threshold, the lowest first.

    Args:
      threshold: Scores strictly below it are chosen.
      cap: Largest fraction of a layer that is chosen at once.

    Returns:
      The selection rule.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from knife_jax import plasticity as p
      >>> scores, allowed = {"a": jnp.array([0.1, 0.9, 0.2, 0.0])}, {"a": jnp.ones(4, bool)}
      >>> p.below(0.25, cap=0.5)(scores, allowed, jax.random.key(0))["a"].tolist()
      [True, False, False, True]
    """

    def select(scores, allowed, key):
        del key

        def one(score, may):
            among = may & (score < threshold)
            return lowest(score, among, jnp.asarray(math.floor(cap * score.size)))

        return {name: one(scores[name], allowed[name]) for name in scores}

    return select


def those(test: Callable[[Float[Array, "W"]], Bool[Array, "W"]]) -> Select:
    """Choose the neurons whose score passes a test, however many."""
    return lambda scores, allowed, key: {n: allowed[n] & test(scores[n]) for n in scores}


@checked
def at_most(threshold: NotNegative) -> Select:
    """Choose the neurons whose score is ``threshold`` or less (ReDo's dormant ones)."""
    return those(lambda score: score <= threshold)


@checked
def at_least(threshold: Positive) -> Select:
    """Choose the neurons whose score is ``threshold`` or more (ReBorn's over-active ones)."""
    return those(lambda score: score >= threshold)


def all_units(scores, allowed, key):
    """Choose all allowed neurons."""
    del scores, key
    return dict(allowed)


@checked
def random_like(select: Select) -> Select:
    """Choose as many neurons in each layer as another rule would, but at random: its control.

    Args:
      select: The rule that is controlled for; its choice gives only the numbers.

    Returns:
      The selection rule, which draws among the allowed neurons.
    """

    def selected(scores, allowed, key):
        # sorted, as trees are that come back from a compiled function or from a file
        keys = dict(zip(sorted(scores), jax.random.split(key, len(scores)), strict=True))
        drawn = {name: jax.random.uniform(keys[name], scores[name].shape) for name in scores}
        return _as_many(select(scores, allowed, key), drawn, allowed)

    return selected


@checked
def as_many(select: Select, *, highest: bool = False) -> Select:
    """Choose as many neurons in each layer as another rule would, in the order of another score.

    It tells whether it matters which neurons are operated on, beside how many.

    Args:
      select: The rule whose choice gives the numbers.
      highest: Whether the neurons with the highest scores come first, in place of the lowest.

    Returns:
      The selection rule, for the scores of ``ordered_by``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from knife_jax import plasticity as p
      >>> scores = p.Ordered({"a": jnp.array([0.1, 0.9, 0.2])}, {"a": jnp.array([3.0, 1.0, 2.0])})
      >>> rule = p.as_many(p.below(0.25, cap=1.0), highest=True)
      >>> rule(scores, {"a": jnp.ones(3, bool)}, jax.random.key(0))["a"].tolist()
      [True, False, True]
    """

    def selected(scores, allowed, key):
        order = {name: -score if highest else score for name, score in scores.order.items()}
        return _as_many(select(scores.scores, allowed, key), order, allowed)

    return selected


def _as_many(chosen: Chosen, order: PerNeuron, allowed: Chosen) -> Chosen:
    """The first of the allowed neurons in another order, as many as are chosen."""
    return {name: lowest(order[name], allowed[name], jnp.sum(chosen[name])) for name in chosen}
