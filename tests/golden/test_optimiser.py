"""Our RMSprop is PyTorch's, hence PyMARL's."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import tiny_config

from knife_jax.builders.optimiser import make_optimiser
from knife_jax.cli import compose


def fields(**changes):
    return dataclasses.replace(tiny_config().algo, **changes)


def test_rmsprop_adds_eps_outside_the_root():
    algo = fields(optimiser="rmsprop", lr=5e-4, eps=1e-5, grad_clip=1e9, lr_decay=False)
    tx = make_optimiser(algo)
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
    tx = make_optimiser(fields(optimiser=name, grad_clip=1.0))
    params = {"a": jnp.ones(3), "b": jnp.ones((2, 2))}
    small = {"a": jnp.full(3, 0.1), "b": jnp.full((2, 2), 0.1)}
    norm = np.sqrt(7 * 0.01)
    large = {k: v / norm * 1e3 for k, v in small.items()}
    unit = {k: v / norm for k, v in small.items()}
    one = tx.update(large, tx.init(params), params)[0]
    two = tx.update(unit, tx.init(params), params)[0]
    for k in params:
        np.testing.assert_allclose(one[k], two[k], rtol=1e-4)


def torch_adam(grads, lr, eps, clip):
    """Parameters after clipped Adam steps, as PyTorch takes them."""
    theta, m, v = np.zeros(3), np.zeros(3), np.zeros(3)
    for i, grad in enumerate(grads, start=1):
        grad = grad * min(1.0, clip / (np.linalg.norm(grad) + 1e-6))
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        theta = theta - lr * (m / (1 - 0.9**i)) / (np.sqrt(v / (1 - 0.999**i)) + eps)
    return theta


@pytest.mark.parametrize("size", [1e-8, 30.0])
def test_preset_pymarl2_takes_its_steps_from_a_loss_twice_as_large(size):
    """PyMARL2's nq_learner: Adam(1e-3) on ½ δ², gradients clipped at 10; our loss is δ²."""
    grads = np.random.default_rng(3).normal(size=(20, 3)) * size * np.linspace(0.01, 1, 20)[:, None]
    tx = make_optimiser(compose(["preset=pymarl2"]).algo)
    theta = jnp.zeros(3)
    state = tx.init(theta)
    for grad in grads:
        updates, state = tx.update(jnp.asarray(2 * grad), state, theta)
        theta = optax.apply_updates(theta, updates)
    published = torch_adam(grads, lr=1e-3, eps=1e-8, clip=10)
    np.testing.assert_allclose(theta, published, rtol=1e-4)
    assert np.abs(torch_adam(grads, lr=1e-3, eps=5e-9, clip=5) - published).max() > 1e-5
