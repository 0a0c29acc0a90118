"""The values that travel between the parts, and the legend of axes used in every annotation.

S seeds, E parallel environments, T transitions, T1 = T + 1 time steps, B batch, N agents,
A actions, O observation, D global state, H hidden units, I layer inputs, W neurons of a layer,
K graft slots.
Arrays are time-major: ``[T, B, N, ...]``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

import optax
from flax import struct
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

PyTree = Any
Variables = dict[str, PyTree]
"""flax collections: ``params`` is trained, ``grafts`` is frozen."""


class Flat(struct.PyTreeNode):
    """A tree of arrays, stored as one vector."""

    numbers: Float[Array, "P"]
    unravel: Callable[[Array], PyTree] = struct.field(pytree_node=False)

    @classmethod
    def of(cls, tree: PyTree) -> Flat:
        """Return the vector of all numbers of a tree."""
        return cls(*ravel_pytree(tree))

    @property
    def tree(self) -> PyTree:
        """The tree as it was."""
        return self.unravel(self.numbers)


class Patient(NamedTuple):
    """Everything a plasticity method may rewrite."""

    online: Variables
    target: Variables
    opt_state: optax.OptState


class Trajectory(struct.PyTreeNode):
    """T consecutive transitions of B environments, with the step that follows them.

    Step t holds what the agents saw; transition t leads from step t to step t + 1. A step that
    ends an episode has no transition (``valid`` is False there) and the one after it is ``first``.
    """

    obs: Float[Array, "T1 B N O"]
    state: Float[Array, "T1 B D"]
    avail_actions: Bool[Array, "T1 B N A"]
    first: Bool[Array, "T1 B"]
    action: Int[Array, "T B N"]
    reward: Float[Array, "T B"]
    terminated: Bool[Array, "T B"]
    valid: Bool[Array, "T B"]
    carry: Float[Array, "B N H"]
    """the agents' recurrent state before step 0, as it was when the step was played"""
    last_action: Int[Array, "B N"]
    """the agents' actions before step 0; -1 if there is none"""


def batch_axes(tree: PyTree) -> PyTree:
    """Return the axis of B in each leaf of a ``Trajectory``, or of its stored form."""
    leaves = (field.name for field in fields(tree) if field.metadata.get("pytree_node", True))
    carried = ("carry", "last_action")
    return tree.replace(**{name: 0 if name in carried else 1 for name in leaves})
