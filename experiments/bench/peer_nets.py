"""The networks of JaxMARL's ``qmix_rnn`` and ``pqn_vdn_rnn``, restated."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn


def _dense(width: int, scale: float = 1.0) -> nn.Dense:
    return nn.Dense(width, kernel_init=nn.initializers.orthogonal(scale))


class _Memory(nn.Module):
    """One GRU step that clears its carry first if ``reset`` is set."""

    @nn.compact
    def __call__(self, carry, inputs):
        x, reset = inputs
        carry = jnp.where(reset[:, None], 0.0, carry)
        return nn.GRUCell(x.shape[-1])(carry, x)


class Agent(nn.Module):
    """Dense, ReLU, GRU, dense: observations ``[T, B, O]`` of an agent to values ``[T, B, A]``."""

    n_actions: int
    hidden: int

    @nn.compact
    def __call__(self, carry, obs, reset):
        x = nn.relu(_dense(self.hidden)(obs))
        unroll = nn.scan(_Memory, variable_broadcast="params", split_rngs={"params": False})
        carry, h = unroll()(carry, (x, reset))
        return carry, _dense(self.n_actions)(h)


class NormalAgent(nn.Module):
    """Dense layers, each normalised before its ReLU, a GRU and a dense layer (``pqn_vdn_rnn``).

    With ``batch_norm`` observations are normalised, too; ``learns``: by the batch, not by running
    means.
    """

    n_actions: int
    hidden: int
    layers: int
    batch_norm: bool

    @nn.compact
    def __call__(self, carry, obs, reset, learns: bool = False):
        def normal(x):
            return nn.BatchNorm(not learns)(x) if self.batch_norm else nn.LayerNorm()(x)

        x = normal(obs) if self.batch_norm else obs
        for _ in range(self.layers):
            x = nn.relu(normal(nn.Dense(self.hidden)(x)))
        unroll = nn.scan(_Memory, variable_broadcast="params", split_rngs={"params": False})
        carry, h = unroll()(carry, (x, reset))
        return carry, nn.Dense(self.n_actions)(h)


class Mixer(nn.Module):
    """QMIX's mixing network with two-layer hypernetworks: ``[N, T, B]`` values to ``[T, B]``."""

    embed: int
    hyper_hidden: int
    scale: float

    @nn.compact
    def __call__(self, q, state):
        def hyper(hidden, width):
            return _dense(width, self.scale)(nn.relu(_dense(hidden, self.scale)(state)))

        n_agents, *rows = q.shape
        w1 = jnp.abs(hyper(self.hyper_hidden, n_agents * self.embed))
        b1 = _dense(self.embed, self.scale)(state)
        w2 = jnp.abs(hyper(self.hyper_hidden, self.embed))
        b2 = hyper(self.embed, 1)
        q = jnp.moveaxis(q, 0, -1)[..., None, :]
        mixed = nn.elu(q @ w1.reshape(*rows, n_agents, self.embed) + b1[..., None, :])
        return (mixed @ w2[..., None] + b2[..., None])[..., 0, 0]
