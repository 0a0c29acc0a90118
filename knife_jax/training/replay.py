"""A ring of windows, stored in fewer bytes. Where to write and how much is filled follow from the
Clock.

The write position is therefore the same for all seeds: adding is one in-place slice update, not
a scatter, and nothing about the ring itself has to be stored.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from knife_jax.types import Trajectory, batch_axes


class ReplayState(struct.PyTreeNode):
    """Trajectories as they are stored: the same numbers, truths as bits, actions as small integers.

    Observations, states, rewards and recurrent states are any floats: they stay as they are.
    """

    obs: Float[Array, "T1 B N O"]
    state: Float[Array, "T1 B D"]
    bits: UInt8[Array, "T1 B bytes"]
    """``avail_actions`` of all agents, ``first``, ``terminated``, ``valid``; these two end at T"""
    action: Int[Array, "T B N"]
    reward: Float[Array, "T B"]
    carry: Float[Array, "B N H"]
    last_action: Int[Array, "B N"]
    n_actions: int = struct.field(pytree_node=False)


def pack(windows: Trajectory) -> ReplayState:
    """The stored form of windows."""
    rows, batch, _, n_actions = windows.avail_actions.shape
    small = jnp.int8 if n_actions <= jnp.iinfo(jnp.int8).max + 1 else jnp.int32
    of_transitions = jnp.stack([windows.terminated, windows.valid], axis=-1)
    truths = [
        windows.avail_actions.reshape(rows, batch, -1),
        windows.first[..., None],
        jnp.pad(of_transitions, [(0, 1), (0, 0), (0, 0)]),
    ]
    return ReplayState(
        obs=windows.obs,
        state=windows.state,
        bits=jnp.packbits(jnp.concatenate(truths, axis=-1), axis=-1),
        action=windows.action.astype(small),
        reward=windows.reward,
        carry=windows.carry,
        last_action=windows.last_action.astype(small),
        n_actions=n_actions,
    )


def unpack(packed: ReplayState) -> Trajectory:
    """The windows that were packed."""
    rows, batch, n_agents = *packed.bits.shape[:2], packed.action.shape[2]
    n = n_agents * packed.n_actions
    truths = jnp.unpackbits(packed.bits, axis=-1, count=n + 3).astype(bool)
    return Trajectory(
        obs=packed.obs,
        state=packed.state,
        avail_actions=truths[..., :n].reshape(rows, batch, n_agents, packed.n_actions),
        first=truths[..., n],
        action=packed.action.astype(jnp.int32),
        reward=packed.reward,
        terminated=truths[:-1, :, n + 1],
        valid=truths[:-1, :, n + 2],
        carry=packed.carry,
        last_action=packed.last_action.astype(jnp.int32),
    )


def _map(f: Callable[..., Array], packed: ReplayState, *more: ReplayState) -> ReplayState:
    """``f(leaf, ..., axis)`` with the axis that B is in."""
    return jax.tree.map(f, packed, *more, batch_axes(packed))


def empty(example: Trajectory, capacity: int) -> ReplayState:
    """An all-zero ring of ``capacity`` windows shaped like those of ``example``."""

    def zeros(leaf, axis: int) -> Array:
        shape = list(leaf.shape)
        shape[axis] = capacity
        return jnp.zeros(shape, leaf.dtype)

    return _map(zeros, jax.eval_shape(pack, example))


def add(ring: ReplayState, windows: Trajectory, added: Int[Array, ""]) -> ReplayState:
    """Write B windows after the ``added`` ones so far, over the oldest when the ring is full.

    The capacity must be a multiple of B.
    """
    capacity, batch = ring.last_action.shape[0], windows.last_action.shape[0]
    if capacity % batch:
        raise ValueError(f"capacity {capacity} is not a multiple of {batch} windows")
    start = added % capacity

    def write(old: Array, new: Array, axis: int) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(old, new, start, axis)

    return _map(write, ring, pack(windows))


def sample(ring: ReplayState, key: PRNGKeyArray, batch: int, added: Int[Array, ""]) -> Trajectory:
    """``batch`` windows, uniformly with replacement, from the ``added`` ones still there."""
    capacity = ring.last_action.shape[0]
    held = jnp.minimum(added, capacity)
    # a third of the kernels of randint; below 2^23 windows the product stays below their number
    return pick(ring, (jax.random.uniform(key, (batch,)) * held).astype(jnp.int32))


def epochs(key: PRNGKeyArray, n: int, batch: int, steps: int) -> Int[Array, "{steps} {batch}"]:
    """Which of n windows each of ``steps`` batches has: all of them once in an order of its own,
    then all again in another, and so on. n must be a multiple of ``batch``."""
    keys = jax.random.split(key, -(-steps * batch // n))
    orders = jax.vmap(lambda key: jax.random.permutation(key, n))(keys)
    return orders.reshape(-1, batch)[:steps]


def pick(ring: ReplayState, index: Int[Array, "B"]) -> Trajectory:
    """The windows at these places of the ring."""
    capacity = ring.last_action.shape[0]

    def take(leaf: Array, axis: int) -> Array:
        if axis == 0:
            return leaf[index]
        # one index per row of the result: a gather along the second axis would transpose
        rows = jnp.arange(leaf.shape[0])[:, None] * capacity + index
        return jnp.take(leaf.reshape(-1, *leaf.shape[2:]), rows, axis=0, mode="clip")

    return unpack(_map(take, ring))
