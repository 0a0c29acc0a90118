"""The ring of windows against a plain Python list."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax import replay
from knife_jax.replay import BATCH_AXIS
from knife_jax.types import Windows

T, B, N, A, O, D, H, CAPACITY, BATCH = 3, 5, 2, 7, 11, 13, 17, 15, 23


def windows(tag):
    """B windows whose every number says which window it belongs to."""
    number = tag * B + np.arange(B)
    shapes = Windows(
        obs=(T + 1, B, N, O), state=(T + 1, B, D), legal=(T + 1, B, N, A), first=(T + 1, B),
        action=(T, B, N), reward=(T, B), terminated=(T, B), valid=(T, B), hidden=(B, N, H),
        previous=(B, N),
    )  # fmt: skip

    def fill(shape, axis):
        view = number.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        time = np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1)) if axis else 0
        return jnp.asarray(np.broadcast_to(view + 1000 * time, shape), jnp.float32)

    return jax.tree.map(fill, shapes, BATCH_AXIS, is_leaf=lambda x: type(x) is tuple)


@pytest.mark.parametrize("n_added", [1, 2, 3, 4, 8])
def test_samples_are_whole_windows_out_of_the_last_ones(key, n_added):
    ring = replay.empty(windows(0), CAPACITY)
    for i in range(n_added):
        ring = replay.add(ring, windows(i), jnp.asarray(i * B))
    added = n_added * B
    sampled = replay.sample(ring, key, BATCH, jnp.asarray(added))
    number = np.asarray(sampled.reward[0])
    assert set(number) <= set(range(max(0, added - CAPACITY), added))
    assert len(set(number)) > 3

    def check(leaf, axis):
        expected = number.reshape([-1 if i == axis else 1 for i in range(leaf.ndim)])
        time = np.arange(leaf.shape[0]).reshape(-1, *[1] * (leaf.ndim - 1)) if axis else 0
        np.testing.assert_array_equal(leaf, np.broadcast_to(expected + 1000 * time, leaf.shape))

    jax.tree.map(check, sampled, BATCH_AXIS)


def test_all_windows_are_equally_likely(key):
    ring = replay.add(replay.empty(windows(0), CAPACITY), windows(0), jnp.asarray(0))
    draw = jax.jit(partial(replay.sample, batch=10_000, added=jnp.asarray(B)))
    counts = np.bincount(np.asarray(draw(ring, key).reward[0], int), minlength=B)
    np.testing.assert_allclose(counts / 10_000, 1 / B, atol=0.02)


def test_a_capacity_that_would_split_a_write_is_refused():
    with pytest.raises(ValueError, match="capacity 13 is not a multiple of 5 windows"):
        replay.add(replay.empty(windows(0), 13), windows(0), jnp.asarray(0))
