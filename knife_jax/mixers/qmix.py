"""QMIX (Rashid et al. 2018): a mixing network that is monotone in every agent's value."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from knife_jax.nets.graft import GraftedDense
from knife_jax.nets.initialisers import Init
from knife_jax.nets.wiring import NeuronGroup


class QMixer(nn.Module):
    """Q_tot = elu(q |W_1(s)| + b_1(s)) |W_2(s)| + v(s), with two-layer hypernetworks.

    The absolute values make ∂Q_tot/∂Q_i ≥ 0 for every parameter, so each agent's greedy action
    is part of the greedy joint action (IGM). Only the hypernetworks' hidden layers can be
    operated on: a graft on the mixing units themselves would have a branch with a minus sign,
    and training it would break monotonicity.
    """

    n_agents: int
    embed: int
    hyper_hidden: int
    init_with: Init
    slots: int = 0
    layer_norm: bool = False
    own_outgoing: bool = False

    @nn.compact
    def __call__(
        self,
        q: Float[Array, "T B N"],
        state: Float[Array, "T B D"],
    ) -> Float[Array, "T B"]:
        def dense(width: int, fan_in: int, name: str) -> nn.Dense:
            return nn.Dense(
                width,
                kernel_init=self.init_with.dense,
                bias_init=self.init_with.bias(fan_in),
                name=name,
            )

        def hyper(name: str, hidden_dim: int, width: int) -> Float[Array, "T B X"]:
            layer = GraftedDense(
                hidden_dim, self.init_with, self.slots, 0, self.layer_norm,
                (width,) if self.own_outgoing else (), name=f"{name}_hidden",
            )  # fmt: skip
            out, h = dense(width, hidden_dim, f"{name}_out"), layer(state)
            if self.own_outgoing:
                h, (added,) = h
                return out(h) + added
            return out(h)

        w1 = jnp.abs(hyper("w1", self.hyper_hidden, self.n_agents * self.embed))
        w1 = w1.reshape(*q.shape, self.embed)
        b1 = dense(self.embed, state.shape[-1], "b1")(state)
        w2 = jnp.abs(hyper("w2", self.hyper_hidden, self.embed))
        v = hyper("v", self.embed, 1)
        mixed = jax.nn.elu(jnp.einsum("tbn,tbne->tbe", q, w1) + b1)
        return (mixed[..., None, :] @ w2[..., None])[..., 0, 0] + v[..., 0]

    def wiring(self) -> tuple[NeuronGroup, ...]:
        """Every dense layer. The heads generate the last mixing layer: w2 and v."""
        init = self.init_with
        widths = {
            "w1": (self.hyper_hidden, self.n_agents * self.embed),
            "w2": (self.hyper_hidden, self.embed),
            "v": (self.embed, 1),
        }
        groups = [NeuronGroup("mixer/b1", self.embed, init.columns, (), "linear", init.bias)]
        for name, (width, out) in widths.items():
            reader, kind = f"mixer/{name}_out", "linear" if name == "w1" else "head"
            groups += [
                NeuronGroup(
                    f"mixer/{name}_hidden", width, init.columns, (reader,), "relu", init.bias
                ),
                NeuronGroup(reader, out, init.columns, (), kind, init.bias),
            ]
        return tuple(groups)
