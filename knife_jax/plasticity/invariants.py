"""What surgery must not change, as checks for any network."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from knife_jax.types import Patient, PyTree, Variables


def change(
    values: Callable[[Variables], PyTree], before: Variables, after: Variables
) -> Float[Array, ""]:
    """Largest change of any value, both sides computed by the same code: exactly 0 for a method
    that preserves the outputs."""
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), before, after)
    found = jax.tree.leaves(jax.lax.map(values, both))
    return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf[1] - leaf[0])) for leaf in found]))


def check_operation(before: Patient, after: Patient) -> None:
    """Raise ValueError where an operation changed the structure, a shape or a dtype of the patient,
    or left a number that is not finite. Not for use inside jit."""
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise ValueError("the operation changed the structure of the patient")
    olds = jax.tree_util.tree_leaves_with_path(before)
    for (path, old), new in zip(olds, jax.tree.leaves(after), strict=True):
        name = jax.tree_util.keystr(path)
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise ValueError(f"{name} was {old.dtype}{old.shape}, is {new.dtype}{new.shape}")
        if not bool(jnp.all(jnp.isfinite(new))):
            raise ValueError(f"{name} is not finite")
