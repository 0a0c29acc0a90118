"""Optimiser state of parameters that were drawn anew."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool

from knife_jax.types import PyTree

FIRST = ("mu", "trace")
SECOND = ("nu",)
"""optax's names of first and second moments"""
ANCHORS = ("initial", "norm", "anchor", "importance")
"""fields of our own transformations (``regularise``, ``anchoring``) that say where weights are
held"""


def seed_moments(
    opt_state: PyTree, path: tuple[str, ...], mask: Bool[Array, "W"], axis: int
) -> PyTree:
    """Give fresh moments to the new neurons along one axis of a parameter leaf.

    First moments become 0, second moments their mean over the untouched neurons of the leaf (over
    all of them if none is untouched). Zeroing both, with a step counter that is shared by all
    entries, would make the first steps of Adam 3 to 7 times too large.

    Args:
      opt_state: State of an optax optimiser.
      path: Path of the leaf in ``params``, for instance ``("agent", "encoder", "kernel")``.
      mask: The new neurons.
      axis: Axis of the neurons in the leaf: -1 for incoming weights and biases, -2 for outgoing.

    Returns:
      The optimiser's state.

    Raises:
      ValueError: The per-parameter state has a name not known here, or there are moments, but none
        of this leaf.
    """

    def of(where) -> tuple[tuple[str, ...], str]:
        """Return the parameter that a leaf of the state belongs to, and its field."""
        keys = tuple(k.key for k in where if isinstance(k, jax.tree_util.DictKey))
        fields = ["", *(k.name for k in where if isinstance(k, jax.tree_util.GetAttrKey))]
        return keys, fields[-1]

    def moment(where, leaf):
        keys, field = of(where)
        if keys != path:
            return leaf
        if field in ANCHORS:
            return leaf
        if field not in FIRST + SECOND:
            raise ValueError(f"unknown optimiser moment {field!r} of {'/'.join(path)}")
        shape = [1] * leaf.ndim
        shape[axis] = mask.size
        touched = mask.reshape(shape)
        if field in FIRST:
            return jnp.where(touched, 0.0, leaf)
        total = jnp.sum(jnp.where(counted.reshape(shape), leaf, 0.0), axis=axis, keepdims=True)
        return jnp.where(touched, total / n_counted, leaf)

    counted = ~mask | jnp.all(mask)
    n_counted = jnp.sum(counted, dtype=jnp.float32)
    known = [of(where) for where, _ in jax.tree_util.tree_leaves_with_path(opt_state)]
    owners = {keys for keys, field in known if field in FIRST + SECOND}
    if owners and path not in owners:
        raise ValueError(f"the optimiser's state has no moments of {'/'.join(path)}")
    return jax.tree_util.tree_map_with_path(moment, opt_state)


def restart(opt_state: PyTree) -> PyTree:
    """Set moments and their step counts to 0, as at the start of training.

    Learning-rate schedules go on, since they belong to the run and not to the network.

    Args:
      opt_state: State of an optax optimiser.

    Returns:
      The optimiser's state.
    """

    def has_moments(state) -> bool:
        return bool({*FIRST, *SECOND} & set(getattr(state, "_fields", ())))

    def zeros(state):
        return optax.tree.zeros_like(state) if has_moments(state) else state

    return jax.tree.map(zeros, opt_state, is_leaf=has_moments)
