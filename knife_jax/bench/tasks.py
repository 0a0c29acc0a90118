"""The two tests: a chain of random labels, and the fit of a network with dormant neurons."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from knife_jax.bench.recipes import Recipe, matched
from knife_jax.bench.supervised import Net, Outcome, Treatment, run
from knife_jax.nets.initialisers import torch_init
from knife_jax.types import Variables

SLOTS = 3
DORMANT = (0, 1, 2, 3)
"""neurons of four that are forced dormant in the expressivity test"""


class Size(NamedTuple):
    """How long a test is."""

    phases: int
    steps: int
    rows: int
    seeds: int


def treatment(
    recipe: Recipe, inputs: int, widths: tuple[int, ...], outputs: int, lr: float
) -> Treatment:
    """Make a network of these sizes, trained by Adam, with the recipe's method."""
    if recipe.widen:
        widths = matched(inputs, widths, outputs, SLOTS)
    net = Net(widths, outputs, torch_init(), recipe.slots, recipe.layer_norm)
    return Treatment(net, recipe.method(net.wiring()), optax.adam(lr))


def chain(recipe: Recipe, size: Size, widths: tuple[int, ...] = (64, 64)) -> Outcome:
    """Regress onto random labels that are drawn anew with each task ``-> [S, F]``.

    Inputs of 16 normal numbers, the same in all tasks, and 4 normal labels each; an MLP 16-64-64-4
    under Adam with a learning rate of 3e-3. Nothing learnt helps with the next task, so a network
    that keeps its plasticity reaches the same loss every time.
    """
    treated = treatment(recipe, 16, widths, 4, 3e-3)

    @jax.jit
    @jax.vmap
    def seed(key):
        x_key, y_key, key = jax.random.split(key, 3)
        x = jax.random.normal(x_key, (size.rows, 16))
        labels = jax.random.normal(y_key, (size.phases, size.rows, 4))
        return run(treated, x, labels, size.steps, key)

    return jax.device_get(seed(jax.random.split(jax.random.key(0), size.seeds)))


def expressivity(recipe: Recipe, size: Size) -> np.ndarray:
    """Measure the relative loss at the end, by number of dormant neurons ``-> [S, 4]``.

    ReBorn, section 3: a 3-4-1 network fits 0.5 q_1^5 + q_2^3 + 1.5 q_3 on normal q, with 0 to 3 of
    its hidden neurons made dead before the first step. The target stays the same; surgery is due at
    the end of every phase but the last.
    """
    treated = treatment(recipe, 3, (4,), 1, 1e-2)

    def one(key, dormant):
        x_key, key = jax.random.split(key)
        q = jax.random.normal(x_key, (size.rows, 3))
        y = 0.5 * q[:, :1] ** 5 + q[:, 1:2] ** 3 + 1.5 * q[:, 2:]
        y = (y - jnp.mean(y)) / jnp.std(y)

        def kill(variables: Variables) -> Variables:
            hidden = variables["params"]["hidden0"]
            dead = jnp.arange(hidden["bias"].size) < dormant
            killed = {
                "kernel": jnp.where(dead, 0.0, hidden["kernel"]),
                "bias": jnp.where(dead, -1.0, hidden["bias"]),
            }
            return {**variables, "params": {**variables["params"], "hidden0": killed}}

        targets = jnp.broadcast_to(y, (size.phases, *y.shape))
        return run(treated, q, targets, size.steps, key, kill).loss[-1]

    keys = jax.random.split(jax.random.key(1), size.seeds)
    over_dormant = jax.vmap(one, in_axes=(None, 0))
    both = jax.jit(jax.vmap(over_dormant, in_axes=(0, None)))
    return jax.device_get(both(keys, jnp.asarray(DORMANT)))
