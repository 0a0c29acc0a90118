"""A seed split over shards learns what it would learn whole; on devices, all have the same bits."""

import os
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import tiny_config, untrained

from knife_jax.builders.networks import make_networks
from knife_jax.envs.base import EnvSpec
from knife_jax.nets.wiring import relu_groups
from knife_jax.parallel.shards import AXIS, WHOLE, Shards
from knife_jax.training.learner import MEASURED_WINDOWS, make_learner
from knife_jax.training.targets import td_lambda_targets
from knife_jax.types import Trajectory, batch_axes

SPEC = EnvSpec("none", n_agents=3, n_actions=5, obs_size=7, state_size=11, horizon=17, has_win=True)
T, B, H = 5, MEASURED_WINDOWS, 13


def split(batch: Trajectory, n: int) -> Trajectory:
    """The windows of each shard along a new axis 0."""
    return jax.tree.map(
        lambda leaf, axis: jnp.stack(jnp.split(leaf, n, axis)), batch, batch_axes(batch)
    )


@cache
def update(n: int):
    """One gradient step on a batch in ``n`` shards: gradients, neuron statistics and metrics."""
    networks = make_networks(tiny_config(), SPEC)
    shards = WHOLE if n == 1 else Shards(n)
    learner = make_learner(
        SPEC, networks, relu_groups(networks.wiring()), optax.identity(), gamma=0.9,
        returns=partial(td_lambda_targets, lam=0.5), double_q=True, target_period=1000, tau=1.0,
        needs=("outgoing", "sensitivity"), shards=shards,
    )  # fmt: skip
    online = untrained(lambda: learner.init(jax.random.key(3)).online)

    def one(batch: Trajectory):
        return learner.gradient(online, online, batch)

    if n == 1:
        return jax.jit(one)
    # no axis for the results: that they are the same in all shards is checked as it is traced
    over_shards = jax.vmap(one, in_axes=0, out_axes=None, axis_name=AXIS)
    return jax.jit(lambda batch: over_shards(split(batch, n)))


def make_batch(valid) -> Trajectory:
    keys = iter(jax.random.split(jax.random.key(1), 9))
    n, a = SPEC.n_agents, SPEC.n_actions
    return Trajectory(
        obs=jax.random.normal(next(keys), (T + 1, B, n, SPEC.obs_size)),
        state=jax.random.normal(next(keys), (T + 1, B, SPEC.state_size)),
        avail_actions=jax.random.bernoulli(next(keys), 0.7, (T + 1, B, n, a)).at[..., 0].set(True),
        first=jax.random.bernoulli(next(keys), 0.2, (T + 1, B)),
        action=jax.random.randint(next(keys), (T, B, n), 0, a),
        reward=jax.random.normal(next(keys), (T, B)),
        terminated=jax.random.bernoulli(next(keys), 0.2, (T, B)),
        valid=jnp.asarray(valid),
        carry=jax.random.normal(next(keys), (B, n, H)),
        last_action=jnp.full((B, n), -1),
    )


RAGGED = np.arange(T)[:, None] < np.array([5, 5, 4, 5, 1, 2, 0, 1])
EMPTY_SHARD = np.broadcast_to(np.arange(B) >= B // 2, (T, B))


@pytest.mark.parametrize("valid", [RAGGED, EMPTY_SHARD, np.zeros((T, B), bool)])
def test_gradients_and_probes_are_those_of_the_joined_batch(valid):
    batch = make_batch(valid)
    whole, shared = update(1)(batch), update(2)(batch)
    assert np.any(whole[0]["agent"]["encoder"]["kernel"]) == np.any(valid)
    for (path, one), other in zip(
        jax.tree_util.tree_leaves_with_path(whole), jax.tree.leaves(shared), strict=True
    ):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6, err_msg=name)


def test_what_shares_tell_each_other():
    """Two shards with the windows 0, 1, 2 and 10, 11, 12 of a batch."""
    shards = Shards(2)
    number = jnp.array([[0, 1, 2], [10, 11, 12]])
    axes = batch_axes(make_batch(RAGGED))

    def one(number):
        batch = jax.tree.map(lambda axis: number[None] if axis else number, axes)
        keys = jax.random.key_data(shards.own(jax.random.key(0)))
        told = (
            shards.total(jnp.sum(number)),
            shards.largest(number[1]),
            shards.whole(batch, axes),
        )
        return keys, told

    keys, (total, largest, joined) = jax.vmap(one, out_axes=(0, None), axis_name=AXIS)(number)
    assert not np.array_equal(keys[0], keys[1])
    assert (total, largest) == (36, 11)
    for leaf in jax.tree.leaves(joined):
        np.testing.assert_array_equal(np.squeeze(leaf), [0, 1, 2, 10, 11, 12])


def test_two_devices_train_one_seed_with_the_same_bits(forks):
    root = Path(__file__).parents[1]
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(root.parent), str(root)))}
    done = forks.run(["python", str(root / "host" / "two_shards.py")], env=env)
    assert done.returncode == 0, done.stderr
