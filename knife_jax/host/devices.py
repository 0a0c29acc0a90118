"""Seeds over devices and processes. Seeds never talk to each other, so nothing is exchanged."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from knife_jax.types import PyTree

SEED = PartitionSpec("seed")
SAME = PartitionSpec()


def join() -> bool:
    """Join the other processes of ``jax.distributed``; whether this one is the first of them.

    Clusters that jax knows are recognised; elsewhere ``JAX_COORDINATOR_ADDRESS``,
    ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID`` say who is who.
    """
    known = [os.environ.get(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")]
    n_processes, index = (int(value) if value else None for value in known)
    jax.distributed.initialize(num_processes=n_processes, process_id=index)
    return jax.process_index() == 0


def seed_mesh(n_seeds: int) -> Mesh:
    """All devices, or as many of them as divide the seeds evenly."""
    devices = jax.devices()
    n = max(d for d in range(1, len(devices) + 1) if n_seeds % d == 0)
    return jax.make_mesh((n,), SEED, axis_types=(AxisType.Auto,), devices=devices[:n])


def over_seeds(
    f: Callable[..., Any], mesh: Mesh, in_axes: tuple[int | None, ...], out_axes: Any
) -> Callable[..., Any]:
    """``vmap`` over the seeds (axis 0, None: the same for all), each device its own share."""
    mapped = jax.vmap(f, in_axes, out_axes)
    if mesh.size == 1:
        return mapped

    def specs(axes: Any) -> Any:
        return jax.tree.map(lambda a: SAME if a is None else SEED, axes, is_leaf=_is_none)

    return jax.shard_map(
        mapped, mesh=mesh, in_specs=specs(in_axes), out_specs=specs(out_axes), check_vma=False
    )


def _is_none(x: Any) -> bool:
    return x is None


def place(tree: PyTree, mesh: Mesh, spec: PartitionSpec) -> PyTree:
    """The arrays of a tree on the mesh, in memory of their own; arrays of jax are given up."""
    sharding = NamedSharding(mesh, spec)

    def put(leaf: Any) -> jax.Array:
        if jax.process_count() > 1:  # each process has all of it, and gives its devices their part
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(put(jax.random.key_data(leaf)))
            whole = np.asarray(leaf)
            return jax.make_array_from_callback(whole.shape, sharding, lambda at: whole[at])
        if isinstance(leaf, jax.Array):
            return jax.device_put(leaf, sharding, donate=True)
        return jax.device_put(leaf, sharding, may_alias=False)

    return jax.tree.map(put, tree)


def fetch(tree: PyTree) -> PyTree:
    """A tree as NumPy arrays, whole in every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def agreed(signal: int | None) -> int | None:
    """The signal that any of the processes was sent, so that all stop at the same chunk."""
    if jax.process_count() == 1:
        return signal
    sent = multihost_utils.process_allgather(np.asarray(signal or 0))
    return int(np.max(sent)) or None
