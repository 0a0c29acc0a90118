"""The ring of windows against a plain Python list."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.training import replay
from knife_jax.types import Trajectory, batch_axes

T, B, N, A, O, D, H, CAPACITY, BATCH = 3, 5, 2, 7, 11, 13, 17, 15, 23
MOST = 8
"""additions of B windows"""


def drawn(n_actions=A, n_agents=N):
    """All windows that are ever added, of random values; ``reward[0]`` numbers them."""
    n, rng = MOST * B, np.random.default_rng(3)
    real = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    truth = lambda *shape: rng.integers(0, 2, shape).astype(bool)  # noqa: E731
    reward = real(T, n)
    reward[0] = np.arange(n)
    windows = Trajectory(
        obs=real(T + 1, n, n_agents, O),
        state=real(T + 1, n, D),
        avail_actions=truth(T + 1, n, n_agents, n_actions),
        first=truth(T + 1, n),
        action=rng.integers(0, n_actions, (T, n, n_agents), np.int32),
        reward=reward,
        terminated=truth(T, n),
        valid=truth(T, n),
        carry=real(n, n_agents, H),
        last_action=rng.integers(-1, n_actions, (n, n_agents), np.int32),
    )
    return windows


ALL = drawn()


def windows(*numbers):
    return jax.tree.map(lambda leaf, axis: np.take(leaf, numbers, axis), ALL, batch_axes(ALL))


def added(tag):
    return windows(*range(tag * B, (tag + 1) * B))


add = jax.jit(replay.add)
sample = jax.jit(lambda ring, key, n: replay.sample(ring, key, BATCH, n))


def check_same(some, other):
    for (path, x), y in zip(
        jax.tree_util.tree_leaves_with_path(some), jax.tree.leaves(other), strict=True
    ):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("n_added", [1, 2, 3, 4, MOST])
def test_samples_are_whole_windows_out_of_the_last_ones(key, n_added):
    ring = replay.empty(added(0), CAPACITY)
    for i in range(n_added):
        ring = add(ring, added(i), i * B)
    n = n_added * B
    sampled = sample(ring, key, n)
    numbers = np.asarray(sampled.reward[0], int)
    assert set(numbers) <= set(range(max(0, n - CAPACITY), n))
    assert len(set(numbers)) > 3
    check_same(sampled, windows(*numbers))


def test_all_windows_are_equally_likely(key):
    ring = add(replay.empty(added(0), CAPACITY), added(0), 0)
    draw = jax.jit(partial(replay.sample, batch=10_000, added=jnp.asarray(B)))
    counts = np.bincount(np.asarray(draw(ring, key).reward[0], int), minlength=B)
    np.testing.assert_allclose(counts / 10_000, 1 / B, atol=0.02)


def test_a_capacity_that_would_split_a_write_is_refused():
    with pytest.raises(ValueError, match="capacity 13 is not a multiple of 5 windows"):
        add(replay.empty(added(0), 13), added(0), 0)


@pytest.mark.parametrize(
    ("n_actions", "n_agents", "size"), [(A, N, 1), (A, 3, 1), (128, 1, 1), (129, 1, 4)]
)
def test_what_is_stored_is_smaller_and_comes_back_bit_for_bit(n_actions, n_agents, size):
    """Actions of one byte as far as -1 and all of them fit; truths of all agents in whole bytes."""
    whole = drawn(n_actions, n_agents)
    stored = replay.pack(whole)
    check_same(replay.unpack(stored), whole)
    assert stored.action.dtype.itemsize == stored.last_action.dtype.itemsize == size
    n_bytes = -(-(n_agents * n_actions + 3) // 8)
    assert stored.bits.shape == (T + 1, MOST * B, n_bytes) and stored.bits.dtype == jnp.uint8
