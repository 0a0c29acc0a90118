"""Checks of what surgery must not change, for any network."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from knife_jax.types import Flat, Patient, PyTree, Variables


def change(
    values: Callable[[Variables], PyTree], before: Variables, after: Variables
) -> Float[Array, ""]:
    """Measure the largest change of any value: exactly 0 if an operation preserved the outputs.

    Both sides are computed by the same compiled code, one after the other.

    Args:
      values: Variables -> a tree of arrays, for instance the network's output on a batch.
      before: Variables before the operation.
      after: Variables after it.

    Returns:
      max |after - before| over all entries of all arrays.

    Example:
      >>> import jax.numpy as jnp
      >>> from knife_jax import plasticity as p
      >>> double = lambda variables: 2 * variables["params"]
      >>> float(p.change(double, {"params": jnp.zeros(3)}, {"params": jnp.array([0.0, -1.5, 1.0])}))
      3.0
    """

    def look(_, carry):
        now, other, seen, _ = carry
        return other, now, Flat.of(values(now)).numbers, seen

    nothing = jnp.zeros_like(jax.eval_shape(lambda v: Flat.of(values(v)).numbers, before))
    _, _, new, old = jax.lax.fori_loop(0, 2, look, (before, after, nothing, nothing))
    return jnp.max(jnp.abs(new - old))


def check_operation(before: Patient, after: Patient) -> None:
    """Check that an operation kept structure, shapes and dtypes and left finite numbers.

    Not for use inside jit.

    Args:
      before: The patient before the operation.
      after: The patient after it.

    Raises:
      ValueError: The operation changed the structure, a shape or a dtype of the patient, or left a
        number that is not finite; the message names the leaf.
    """
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise ValueError("the operation changed the structure of the patient")
    olds = jax.tree_util.tree_leaves_with_path(before)
    for (path, old), new in zip(olds, jax.tree.leaves(after), strict=True):
        name = jax.tree_util.keystr(path)
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise ValueError(f"{name} was {old.dtype}{old.shape}, is {new.dtype}{new.shape}")
        if not bool(jnp.all(jnp.isfinite(new))):
            raise ValueError(f"{name} is not finite")
