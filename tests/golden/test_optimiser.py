"""Our RMSprop is PyTorch's, hence PyMARL's."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import tiny_config

from knife_jax.build import make_optimiser


def fields(**changes):
    return dataclasses.replace(tiny_config().algo, **changes)


def test_rmsprop_adds_eps_outside_the_root():
    algo = fields(optimiser="rmsprop", lr=5e-4, eps=1e-5, grad_clip=1e9, lr_decay=False)
    tx = make_optimiser(algo, 1)
    rng = np.random.default_rng(0)
    theta = expected = np.array([1.0, -2.0, 3.0])
    square = np.zeros(3)
    state = tx.init(jnp.asarray(theta))
    for _ in range(50):
        grad = rng.normal(size=3) * 1e-4
        square = 0.99 * square + 0.01 * grad**2
        expected = expected - 5e-4 * grad / (np.sqrt(square) + 1e-5)
        updates, state = tx.update(jnp.asarray(grad), state, jnp.asarray(theta))
        theta = optax.apply_updates(theta, updates)
    np.testing.assert_allclose(theta, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "radam", "rmsprop"])
def test_gradients_are_clipped_by_their_global_norm(name):
    tx = make_optimiser(fields(optimiser=name, grad_clip=1.0), 1)
    params = {"a": jnp.ones(3), "b": jnp.ones((2, 2))}
    small = {"a": jnp.full(3, 0.1), "b": jnp.full((2, 2), 0.1)}
    norm = np.sqrt(7 * 0.01)
    large = {k: v / norm * 1e3 for k, v in small.items()}
    unit = {k: v / norm for k, v in small.items()}
    one = tx.update(large, tx.init(params), params)[0]
    two = tx.update(unit, tx.init(params), params)[0]
    for k in params:
        np.testing.assert_allclose(one[k], two[k], rtol=1e-4)
