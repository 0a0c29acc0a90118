"""The optimiser of a config, and its learning rate as a function of the Clock."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from knife_jax.clock import Clock
from knife_jax.config.algo import AlgoConfig
from knife_jax.plasticity.flat import flat


def learning_rate(algo: AlgoConfig) -> Callable[[Clock], Float[Array, ""]]:
    """Of the gradient step that comes next."""
    return falling(algo.lr) if algo.lr_decay else constant(algo.lr)


def make_optimiser(algo: AlgoConfig) -> optax.GradientTransformation:
    """Clipping by global norm, then the optimiser; with ``lr_decay`` an update takes the ``clock``.

    RMSprop adds ε outside the square root, as PyTorch does; optax's default would shrink PyMARL's
    steps many times over.
    """
    lr = 1.0 if algo.lr_decay else algo.lr
    makers = {
        "adam": lambda: optax.adam(lr, eps=algo.eps),
        "adamw": lambda: optax.adamw(lr, eps=algo.eps, weight_decay=algo.weight_decay),
        "radam": lambda: optax.radam(lr, eps=algo.eps),
        "rmsprop": lambda: optax.rmsprop(lr, decay=0.99, eps=algo.eps, eps_in_sqrt=False),
    }
    chain = optax.clip_by_global_norm(algo.grad_clip), makers[algo.optimiser]()
    return flat(optax.chain(*chain, *[scale_by_clock(learning_rate(algo))] * algo.lr_decay))


def scale_by_clock(
    factor: Callable[[Clock], Float[Array, ""]],
) -> optax.GradientTransformationExtraArgs:
    """Updates times a function of the Clock, so that a new optimiser state does not restart it."""

    def update(updates, state, params=None, **more):
        del params
        now = factor(more["clock"])
        return jax.tree.map(lambda u: u * now, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def constant(value: float) -> Callable[[Clock], Float[Array, ""]]:
    """Make the learning rate that stays as it is."""
    return lambda clock: jnp.full_like(clock.rounds, value, jnp.float32)


def falling(start: float) -> Callable[[Clock], Float[Array, ""]]:
    """Make the schedule that falls from ``start`` at the first gradient step to 0 at the last."""

    def value(clock: Clock) -> Float[Array, ""]:
        last = clock.planned - 1
        left = jnp.maximum(last - clock.updates, 0) / jnp.maximum(last, 1)
        return start * jnp.where(last > 0, left, 1.0)

    return value
