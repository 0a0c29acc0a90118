"""A tree of arrays as a flat table, in the form that checkpoints hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from knife_jax.parallel.devices import fetch
from knife_jax.types import PyTree

Arrays = Mapping[str, np.ndarray]
"""by name: ``state/patient/online/params/...``"""


def to_arrays(tree: PyTree, into: Arrays | None = None) -> dict[str, np.ndarray]:
    """The leaves of a tree by name, copied; typed keys as their data.

    Memory of arrays in ``into`` is used again: to touch new memory takes longer than to copy.
    """

    def copied(name: str, leaf: Any) -> np.ndarray:
        now, held = fetch(_plain(leaf)), (into or {}).get(name)
        if held is None or held.shape != now.shape or held.dtype != now.dtype:
            return np.array(now)
        np.copyto(held, now)
        return held

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {name: copied(name, leaf) for path, leaf in leaves for name in [_name(path)]}


def to_tree(arrays: Arrays, like: PyTree) -> PyTree:
    """The inverse of ``to_arrays``; ``like`` has the structure, with shapes for leaves.

    Leaves that ``arrays`` lack are zeros.
    """

    def leaf(path, shape):
        plain = jax.eval_shape(_plain, shape)
        array = arrays.get(_name(path), np.zeros(plain.shape, plain.dtype))
        is_key = jnp.issubdtype(shape.dtype, jax.dtypes.prng_key)
        return jax.random.wrap_key_data(jnp.asarray(array)) if is_key else array

    return jax.tree_util.tree_map_with_path(leaf, like)


def shapes(like: PyTree) -> dict[str, list[Any]]:
    """Name -> [shape, dtype] as they stand in a step's table."""
    plain = jax.eval_shape(lambda tree: jax.tree.map(_plain, tree), like)
    leaves = jax.tree_util.tree_leaves_with_path(plain)
    return {_name(path): [list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves}


def _plain(leaf: Any) -> Any:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
