"""An optimiser over one vector takes the steps of the same optimiser over leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from knife_jax import plasticity as p
from knife_jax.plasticity.edits import seed_neurons
from knife_jax.types import Flat

SHAPES = {"a": {"kernel": (3, 5), "bias": (5,)}, "b": {"kernel": (5, 2), "bias": (2,)}}
INNER = {
    "adam": lambda: optax.adam(0.1),
    "rmsprop": lambda: optax.rmsprop(0.1),
    "radam": lambda: optax.radam(0.1),
    "adamw": lambda: optax.adamw(0.1, weight_decay=0.3),
}


def drawn(seed):
    rng = np.random.default_rng(seed)
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    return jax.tree.map(lambda s: jnp.float32(rng.normal(size=s)), SHAPES, is_leaf=is_shape)


def after(tx, steps):
    params = drawn(0)
    state = tx.init(params)
    for i in range(steps):
        updates, state = tx.update(drawn(i + 1), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("name", INNER)
def test_steps_are_those_over_leaves(name):
    chain = optax.chain(optax.clip_by_global_norm(1.5), INNER[name]())
    flat, leaves = after(p.flat(chain), 7)[0], after(chain, 7)[0]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), flat, leaves)


def test_moments_of_new_neurons_are_seeded_as_over_leaves():
    chain = optax.chain(optax.clip_by_global_norm(1.5), optax.adam(0.1))
    group = p.NeuronGroup("a", 5, p.torch_init().columns, outgoing=("b",))
    chosen = {"a": jnp.array([True, False, True, False, False])}
    (_, of_vectors), (_, of_leaves) = after(p.flat(chain), 3), after(chain, 3)
    vectors = seed_neurons((group,), of_vectors, chosen)[1][0]
    leaves = seed_neurons((group,), of_leaves, chosen)[1][0]
    assert isinstance(vectors.mu, Flat) and vectors.mu.numbers.shape == (15 + 5 + 10 + 2,)
    for ours, theirs in ((vectors.mu.tree, leaves.mu), (vectors.nu.tree, leaves.nu)):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), ours, theirs)
    assert not np.any(vectors.mu.tree["a"]["kernel"][:, [0, 2]])
    assert np.all(vectors.mu.tree["a"]["kernel"][:, [1, 3, 4]])


def test_a_tree_of_several_types_comes_back_as_it_was():
    tree = {"n": jnp.arange(3), "x": jnp.float32([[0.5], [2.5]])}
    back = Flat.of(tree).tree
    assert jax.tree.map(lambda leaf: leaf.dtype, back) == {"n": jnp.int32, "x": jnp.float32}
    jax.tree.map(np.testing.assert_array_equal, back, tree)
