"""A GRU over windows of rows, with its gradient written out.

The gates r, z and n lie side by side: a row takes two matrix products forwards and four backwards.
jax's own transposition of it takes six and twelve, and transposes every kernel again at each row.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from knife_jax.nets.initialisers import Init

INPUT_GATES, RECURRENT_GATES = ("ir", "iz", "in"), ("hr", "hz", "hn")


class _Weights(NamedTuple):
    """The weights of r, z and n side by side (G = 3 H)."""

    kernel: Float[Array, "I G"]
    bias: Float[Array, " G"]
    recurrent: Float[Array, "H G"]
    new_bias: Float[Array, " H"]
    """added to the recurrent part of n, before r scales it"""


class _Gate(nn.Module):
    """The parameters of one gate's dense layer; its bias is None if it has none."""

    fan_in: int
    width: int
    kernel_init: nn.initializers.Initializer
    bias_init: nn.initializers.Initializer | None

    @nn.compact
    def __call__(self) -> tuple[Float[Array, "I H"], Any]:
        kernel = self.param("kernel", self.kernel_init, (self.fan_in, self.width))
        bias = self.param("bias", self.bias_init, (self.width,)) if self.bias_init else None
        return kernel, bias


class GRU(nn.Module):
    """flax's GRUCell over time, which forgets before the first row of an episode (Cho et al. 2014;
    the reset gate acts on the product, as in cuDNN):

        r = σ(x W_r + b_r + h U_r),  z = σ(x W_z + b_z + h U_z),
        n = tanh(x W_n + b_n + r (h U_n + c)),  h' = (1 - z) n + z h.

    ``added``, where given, joins the pre-activations of r, z and n. Parameters are named like
    flax's: ``ir``, ``iz``, ``in``, ``hr``, ``hz``, ``hn``. Differentiable in reverse mode only.
    """

    hidden_dim: int
    init_with: Init

    @nn.compact
    def __call__(
        self,
        h: Float[Array, "B N H"],
        x: Float[Array, "T B N I"],
        first: Bool[Array, "T B"],
        added: tuple[Float[Array, "T B N H"], ...] = (),
    ) -> Float[Array, "T B N H"]:
        """The state after each row."""
        init, width = self.init_with, self.hidden_dim
        gate = partial(_Gate, width=width)
        ins = [gate(x.shape[-1], kernel_init=init.gates, bias_init=init.bias(width), name=name)()
               for name in INPUT_GATES]  # fmt: skip
        recurrent = [
            gate(width, kernel_init=init.recurrent, bias_init=bias, name=name)()
            for name, bias in zip(RECURRENT_GATES, (None, None, init.bias(width)), strict=True)
        ]
        weights = _Weights(
            jnp.concatenate([kernel for kernel, _ in ins], axis=1),
            jnp.concatenate([bias for _, bias in ins]),
            jnp.concatenate([kernel for kernel, _ in recurrent], axis=1),
            recurrent[-1][1],
        )
        return _unroll(weights, h, x, first, jnp.concatenate(added, axis=-1) if added else None)


def _step(w: _Weights, before, row):
    """The next state, and what its gradient needs."""
    x, first, added = row
    h = jnp.where(first[:, None, None], 0.0, before)
    given = x @ w.kernel + w.bias
    if added is not None:
        given = given + added
    given, held = jnp.split(given, 3, axis=-1), jnp.split(h @ w.recurrent, 3, axis=-1)
    r, z = jax.nn.sigmoid(given[0] + held[0]), jax.nn.sigmoid(given[1] + held[1])
    held_new = held[2] + w.new_bias
    n = jnp.tanh(given[2] + r * held_new)
    return (1.0 - z) * n + z * h, (r, z, n, held_new, h)


@jax.custom_vjp
def _unroll(w: _Weights, h, x, first, added):
    """The states ``[T, B, N, H]`` after each row; ``added`` is ``[T, B, N, 3 H]`` or None."""

    def step(h, row):
        h, _ = _step(w, h, row)
        return h, h

    return jax.lax.scan(step, h, (x, first, added))[1]


def _forward(w, h, x, first, added):
    def step(h, row):
        h, kept = _step(w, h, row)
        return h, (h, kept)

    states, kept = jax.lax.scan(step, h, (x, first, added))[1]
    return states, (w, x, first, added, kept)


def _backward(left, g):
    w, x, first, added, kept = left
    kernel_t, recurrent_t = w.kernel.T, w.recurrent.T

    def flat(rows):
        return rows.reshape(-1, rows.shape[-1])

    def total(rows):
        # as a product: a CPU takes several times as long to reduce a few rows
        return (jnp.ones((1, rows.shape[0]), rows.dtype) @ rows)[0]

    def step(carry, row):
        g_after, grads = carry
        g, x, first, kept = row
        r, z, n, held_new, h = map(flat, kept)
        g = flat(g + g_after)
        g_new = g * (1.0 - z) * (1.0 - n * n)
        g_update = g * (h - n) * z * (1.0 - z)
        g_reset = g_new * held_new * r * (1.0 - r)
        g_held_new = g_new * r
        given = jnp.concatenate([g_reset, g_update, g_new], axis=-1)
        held = jnp.concatenate([g_reset, g_update, g_held_new], axis=-1)
        grads = _Weights(
            grads.kernel + flat(x).T @ given,
            grads.bias + total(given),
            grads.recurrent + h.T @ held,
            grads.new_bias + total(g_held_new),
        )
        g_h = (held @ recurrent_t + g * z).reshape(g_after.shape)
        g_x = (given @ kernel_t).reshape(x.shape)
        g_added = None if added is None else given.reshape(*x.shape[:-1], -1)
        return (jnp.where(first[:, None, None], 0.0, g_h), grads), (g_x, g_added)

    start = jnp.zeros_like(g[0]), jax.tree.map(jnp.zeros_like, w)
    (g_h, g_w), (g_x, g_added) = jax.lax.scan(step, start, (g, x, first, kept), reverse=True)
    return g_w, g_h, g_x, None, g_added


_unroll.defvjp(_forward, _backward)
