"""QMIX (Rashid et al. 2018): a mixing network that is monotonic in every agent's value."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from knife_jax.mixers.base import MixerOptions
from knife_jax.nets.graft import GraftedDense
from knife_jax.nets.wiring import NeuronGroup, Wiring


class QMixer(nn.Module):
    """Q_tot = elu(q |W_1(s)| + b_1(s)) |W_2(s)| + v(s), with two-layer hypernetworks.

    The absolute values make ∂Q_tot/∂Q_i ≥ 0 for every parameter, so each agent's greedy action
    is part of the greedy joint action (IGM). Only the hypernetworks' hidden layers can be
    operated on: a graft on the mixing units themselves would have a branch with a minus sign,
    and training it would break monotonicity.
    """

    options: MixerOptions
    needs: ClassVar[tuple[str, ...]] = ("state",)

    @nn.compact
    def __call__(
        self, values: Float[Array, "T B N"], state: Float[Array, "T B D"]
    ) -> Float[Array, "T B"]:
        o = self.options

        def dense(width: int, fan_in: int, name: str) -> nn.Dense:
            return nn.Dense(
                width,
                kernel_init=o.init.dense,
                bias_init=o.init.bias(fan_in),
                name=name,
            )

        def hyper(name: str, hidden_dim: int, width: int) -> Float[Array, "T B X"]:
            layer = GraftedDense(
                hidden_dim, o.init, o.slots, 0, o.layer_norm,
                (width,) if o.own_outgoing else (), name=f"{name}_hidden",
            )  # fmt: skip
            out, h = dense(width, hidden_dim, f"{name}_out"), layer(state)
            if o.own_outgoing:
                h, (added,) = h
                return out(h) + added
            return out(h)

        w1 = jnp.abs(hyper("w1", o.hyper_hidden, o.n_agents * o.embed))
        w1 = w1.reshape(*values.shape, o.embed)
        b1 = dense(o.embed, state.shape[-1], "b1")(state)
        w2 = jnp.abs(hyper("w2", o.hyper_hidden, o.embed))
        v = hyper("v", o.embed, 1)
        mixed = jax.nn.elu(jnp.einsum("tbn,tbne->tbe", values, w1) + b1)
        return (mixed[..., None, :] @ w2[..., None])[..., 0, 0] + v[..., 0]

    def wiring(self) -> Wiring:
        """Every dense layer. The heads generate the last mixing layer: w2 and v."""
        o, init = self.options, self.options.init
        widths = {
            "w1": (o.hyper_hidden, o.n_agents * o.embed),
            "w2": (o.hyper_hidden, o.embed),
            "v": (o.embed, 1),
        }
        groups = [NeuronGroup("mixer/b1", o.embed, init.columns, (), "linear", init.bias)]
        for name, (width, out) in widths.items():
            reader, kind = f"mixer/{name}_out", "linear" if name == "w1" else "head"
            groups += [
                NeuronGroup(
                    f"mixer/{name}_hidden", width, init.columns, (reader,), "relu", init.bias
                ),
                NeuronGroup(reader, out, init.columns, (), kind, init.bias),
            ]
        return tuple(groups)
