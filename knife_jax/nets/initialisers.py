"""Initialisers, and how one neuron is drawn anew from them.

Equal settings give the same functions, so that networks made from them are equal, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray

from knife_jax.checks import checked
from knife_jax.config.schema import Positive


@runtime_checkable
class Draw(Protocol):
    """An initialiser, as everywhere in flax."""

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = ...) -> Array:
        """Return an array of a shape, drawn with a key."""
        ...


class Init(NamedTuple):
    """The initialisers of a network."""

    dense: Draw
    gates: Draw
    """input weights of the GRU"""
    recurrent: Draw
    bias: Callable[[int], Draw]
    """fan-in -> initialiser of the bias"""
    columns: Draw
    """fresh incoming weights ``[I, W]`` for surgery, free of matrix decompositions: a batched QR
    inside a vmapped program can deadlock on a small CPU pool"""
    recurrent_columns: Draw
    """the same for recurrent weights"""


def _uniform(bound: float) -> Draw:
    def draw(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def _directions(scale: float) -> Draw:
    """Columns as long as those of ``orthogonal(scale)``, in independent random directions."""

    def draw(key: PRNGKeyArray, shape, dtype=jnp.float32) -> Float[Array, "I W"]:
        fan_in, width = shape
        x = jax.random.normal(key, shape, dtype)
        length = scale * min(1.0, math.sqrt(fan_in / width))
        return x * (length / jnp.linalg.norm(x, axis=0, keepdims=True))

    return draw


@checked
@cache
def torch_init(scale: Positive = 1.0) -> Init:
    """PyTorch's defaults, hence PyMARL's: weights and biases U(±1/√fan-in), times ``scale``."""
    dense = nn.initializers.variance_scaling(scale**2 / 3, "fan_in", "uniform")
    bias = lambda fan_in: _uniform(scale / math.sqrt(fan_in))  # noqa: E731
    return Init(dense, dense, dense, bias, dense, dense)


@checked
@cache
def orthogonal_init(scale: Positive = 1.0) -> Init:
    """Orthogonal weights and zero biases, as in JaxMARL's ``qmix_rnn``. Its GRU is flax's: input
    weights are LeCun normal, and ``scale`` is that of the dense layers alone."""
    dense = nn.initializers.orthogonal(scale)
    zeros = nn.initializers.zeros
    recurrent, gates = nn.initializers.orthogonal(), nn.initializers.lecun_normal()
    return Init(dense, gates, recurrent, lambda _: zeros, _directions(scale), _directions(1.0))


INITS: dict[str, Callable[[float], Init]] = {"torch": torch_init, "orthogonal": orthogonal_init}
