"""An optimiser over all parameters as one vector, in place of one small operation for each leaf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from knife_jax.types import Flat, PyTree


def flat(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Run a transformation on all parameters at once, as one vector [P].

    Its state holds vectors, too; ``edit_trees`` shows them as trees. For transformations that
    treat every number alike or look at the norm of all, as clipping by global norm and Adam do.

    Args:
      inner: An optax transformation, or a chain.

    Returns:
      The transformation of trees.
    """
    whole: Any = optax.with_extra_args_support(inner)

    def init(params: PyTree) -> optax.OptState:
        return whole.init(Flat.of(params))

    def update(updates: PyTree, state: optax.OptState, params: PyTree = None, **more: Any):
        given = None if params is None else Flat.of(params)
        updates, state = whole.update(Flat.of(updates), state, given, **more)
        return updates.tree, state

    return optax.GradientTransformationExtraArgs(init, update)


def edit_trees(state: PyTree, edit: Callable[[PyTree], PyTree]) -> PyTree:
    """Edit a state in which vectors of ``flat`` are trees again.

    Args:
      state: The state of an optimiser, flat or not.
      edit: state -> state, of the same structure.

    Returns:
      The edited state, with vectors where there were vectors.
    """
    is_flat = lambda node: isinstance(node, Flat)  # noqa: E731
    trees = jax.tree.map(lambda node: node.tree if is_flat(node) else node, state, is_leaf=is_flat)
    edited = edit(trees)
    return jax.tree.map(
        lambda node, new: Flat.of(new) if is_flat(node) else new, state, edited, is_leaf=is_flat
    )
