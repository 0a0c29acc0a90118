"""QPLEX (Wang et al. 2021): a duplex dueling network, which represents every function with IGM."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from knife_jax.mixers.base import MixerOptions
from knife_jax.mixers.layers import MLP
from knife_jax.nets.wiring import Wiring

LEAST = 1e-10
"""of a positive weight"""


class QPLEXMixer(nn.Module):
    """Q_tot = Σ_i q'_i + Σ_i (λ_i(s, u) - 1) [q'_i - max q'_i], with q'_i = w_i(s) q_i + v_i(s).

    w_i > 0. λ_i = Σ_k |key_k(s)| σ(agent_ki(s)) σ(action_ki(s, u)) > 0 is an attention over
    ``heads``, each of three networks with ``layers`` - 1 hidden ones. As the bracket is at most 0
    and 0 for the greedy action, so is Q_tot - Σ_i max q'_i, which is IGM (eq. 7-11). The bracket is
    free of gradients: agents, w and v learn through the first sum alone, λ through the second, as
    in the released code.

    Layers that put out weights and attention are not operated on; the hidden ones before them are,
    since what makes them positive comes after.
    """

    options: MixerOptions
    heads: int = 4
    layers: int = 2
    needs: ClassVar[tuple[str, ...]] = ("state", "max_values", "action")

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "T B N"],
        state: Float[Array, "T B D"],
        max_values: Float[Array, "T B N"],
        action: Int[Array, "T B N"],
    ) -> Float[Array, "T B"]:
        w, v = (part(state) for part in self.transformation())
        w = jnp.abs(w) + LEAST
        advantage = jax.lax.stop_gradient(w * (values - max_values))
        actions = jax.nn.one_hot(action, self.options.n_actions).reshape(*action.shape[:2], -1)
        both, importance = jnp.concatenate([state, actions], axis=-1), jnp.zeros(())
        for key, agent, act in self.attention():
            positive = jnp.abs(key(state)) + LEAST
            importance += positive * jax.nn.sigmoid(agent(state)) * jax.nn.sigmoid(act(both))
        return jnp.sum(w * values + v, axis=-1) + jnp.sum(advantage * (importance - 1), axis=-1)

    def transformation(self) -> tuple[MLP, ...]:
        """Return what makes w and v of the state."""
        o = self.options
        return tuple(MLP(o, name, (o.hyper_hidden,), o.n_agents, "head") for name in ("w", "v"))

    def attention(self) -> list[tuple[MLP, ...]]:
        """Return the networks of each head: key, agent and action."""
        o = self.options
        hidden = (o.hyper_hidden,) * (self.layers - 1)
        widths = {"key": 1, "agent": o.n_agents, "action": o.n_agents}
        return [
            tuple(MLP(o, f"{name}_{k}", hidden, width) for name, width in widths.items())
            for k in range(1, self.heads + 1)
        ]

    def wiring(self) -> Wiring:
        """Every dense layer."""
        parts = [*self.transformation(), *(part for head in self.attention() for part in head)]
        return tuple(group for part in parts for group in part.wiring())
