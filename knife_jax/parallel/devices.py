"""Placement of seeds, and of shards of a seed, on devices and processes. Seeds exchange nothing."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from knife_jax.config.schema import ConfigError
from knife_jax.parallel.shards import AXIS, SAME, SHARDS
from knife_jax.types import PyTree

FORCED = "xla_force_host_platform_device_count"
MAX_CPU_DEVICES = 8
"""most devices that a CPU counts as by default"""

QUICKLY = {"xla_backend_optimization_level": 1, "xla_llvm_disable_expensive_passes": True}
AT_ONCE = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
    "xla_cpu_use_fusion_emitters": False,
}
"""options of XLA for a CPU: to compile in less time, and in the least"""


def join() -> bool:
    """Join the other processes of ``jax.distributed``. Return whether this one is the first.

    Clusters that jax knows are recognised; elsewhere ``JAX_COORDINATOR_ADDRESS``,
    ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID`` identify the processes.
    """
    known = [os.environ.get(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")]
    n_processes, index = (int(value) if value else None for value in known)
    jax.distributed.initialize(num_processes=n_processes, process_id=index)
    return jax.process_index() == 0


def begin(n: int | None) -> None:
    """Let the CPU count as ``n`` devices, up to ``MAX_CPU_DEVICES`` or its cores, whichever is
    more; without ``n`` as one per core up to ``MAX_CPU_DEVICES``.

    Several programs of half the size keep two cores busier than one whole. Call this before
    anything else of jax; it has no effect if jax runs already or ``XLA_FLAGS`` sets the number.
    """
    is_set = (
        FORCED in os.environ.get("XLA_FLAGS", "") or jax.config.values["jax_num_cpu_devices"] > 0
    )
    if not is_set:
        with suppress(RuntimeError):
            wanted = n or min(_cores(), MAX_CPU_DEVICES)
            jax.config.update("jax_num_cpu_devices", min(wanted, max(_cores(), MAX_CPU_DEVICES)))


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def compiler_options(ours: Sequence[Any]) -> dict[str, bool | int]:
    """XLA's options for a program over a process's devices, but for those that ``XLA_FLAGS`` sets.

    On a CPU LLVM optimises less, which takes a fifth from compiling and nothing from the program,
    whose time is matrix products; these have a single thread if there is one device per core, to
    avoid oversubscription.
    """
    if ours[0].platform != "cpu":
        return {}
    options = dict(QUICKLY)
    if len(ours) > 1 and len(ours) >= _cores():
        options["xla_cpu_multi_thread_eigen"] = False
    return _unless_set(options)


def options_once() -> dict[str, bool | int]:
    """XLA's options for a program that runs once, but for those that ``XLA_FLAGS`` sets."""
    return _unless_set(AT_ONCE) if jax.default_backend() == "cpu" else {}


def _unless_set(options: Mapping[str, bool | int]) -> dict[str, bool | int]:
    flags = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in options.items() if name not in flags}


def make_mesh(n_seeds: int, splits: Sequence[int], n: int | None) -> Mesh:
    """``n`` devices, or all: as many as divide the seeds evenly, and for each of these as many of
    the rest as divide every one of ``splits``.

    Without ``n`` a seed is split over the cores of a CPU, but not over accelerators. Raises
    ``ConfigError`` if ``n`` exceeds the devices that exist or that can be used.
    """
    devices = jax.devices()
    if n is not None and n > (usable := n_seeds * math.gcd(*splits)):
        raise ConfigError(
            f"devices={n} is refused: at most {usable} can be used, num_seeds times the greatest "
            "common divisor of env.n_envs and algo.batch_size"
        )
    if n is not None and n > len(devices):
        cores = " (a CPU counts as one per core, or 8)" * (devices[0].platform == "cpu")
        raise ConfigError(f"devices={n} is refused: there are {len(devices)}{cores}")
    splits = splits if n or devices[0].platform == "cpu" else (1,)
    n = n or len(devices)
    seeds, shards = shared_out(n_seeds, splits, n)
    return jax.make_mesh(
        (seeds, shards),
        ("seed", AXIS),
        axis_types=(AxisType.Auto,) * 2,
        devices=devices[: seeds * shards],
    )


def shared_out(n_seeds: int, splits: Sequence[int], n: int) -> tuple[int, int]:
    """Over how many of ``n`` devices the seeds are shared out, and each of them is split."""
    seeds = max(d for d in range(1, n + 1) if n_seeds % d == 0)
    return seeds, max(d for d in range(1, n // seeds + 1) if math.gcd(*splits) % d == 0)


def over_seeds(
    f: Callable[..., Any], mesh: Mesh, layout: Any, out: Any, *, in_turn: bool = False
) -> Callable[..., Any]:
    """Map ``f``, a function of one seed or of one shard of it, over all, each on its device.

    ``layout`` and ``out`` have a ``PartitionSpec`` for each argument and result, or a tree of them.
    The seeds of a device are one more axis of every array, or come ``in_turn``: then all arguments
    are those of each seed.
    """

    def axes(specs: Any) -> Any:
        return jax.tree.map(lambda spec: None if spec == SAME else 0, specs)

    def own(specs: Any, tree: PyTree, change: Callable[[Array], Array]) -> PyTree:
        """The tree with ``change`` applied to the leaves that have an axis of shards."""

        def leaves(spec, part):
            return jax.tree.map(change, part) if spec == SHARDS else part

        return jax.tree.map(leaves, specs, tree)

    def one_shard(*args: Any) -> Any:
        results = f(*own(layout, args, lambda leaf: leaf[0]))
        return own(out, results, lambda leaf: leaf[None])

    if in_turn:
        mapped = lambda *args: jax.lax.map(lambda of_seed: one_shard(*of_seed), args)  # noqa: E731
    else:
        mapped = jax.vmap(one_shard, axes(layout), axes(out))
    if mesh.size == 1:
        return mapped
    return jax.shard_map(mapped, mesh=mesh, in_specs=layout, out_specs=out, check_vma=False)


def place(tree: PyTree, mesh: Mesh, layout: Any) -> PyTree:
    """Put the arrays of a tree on the mesh, in memory of their own; arrays of jax are donated.

    Shapes in place of arrays get the ``sharding`` that these would have.
    """
    # jax compiles a program to cut up an array of each shape; NumPy needs none
    cut = mesh.size > 1 and mesh.devices.flat[0].platform == "cpu"

    def put(leaf: Any, sharding: NamedSharding) -> Any:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf.update(sharding=sharding)
        if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
            return leaf
        alone = jax.process_count() == 1
        if isinstance(leaf, jax.Array) and alone and not cut:
            return jax.device_put(leaf, sharding, donate=True)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(leaf), sharding))
        whole = np.asarray(leaf)
        if not alone:  # each process has all of it, and gives its devices their part
            return jax.make_array_from_callback(whole.shape, sharding, lambda at: whole[at])
        if isinstance(leaf, jax.Array):
            leaf.delete()
        return jax.device_put(whole, sharding, may_alias=False)

    def part(spec: PartitionSpec, leaves: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: put(leaf, NamedSharding(mesh, spec)), leaves)

    return jax.tree.map(part, layout, tree)


def fetch(tree: PyTree) -> PyTree:
    """Fetch a tree as NumPy arrays, whole in every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def agreed(signal: int | None) -> int | None:
    """The signal that any of the processes received, so that all stop after one chunk."""
    if jax.process_count() == 1:
        return signal
    sent = multihost_utils.process_allgather(np.asarray(signal or 0))
    return int(np.max(sent)) or None
