"""What mixers are made of: layers with the groups of their neurons, and the monotonic network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from knife_jax.mixers.base import MixerOptions
from knife_jax.nets.graft import GraftedDense
from knife_jax.nets.wiring import Kind, NeuronGroup, Wiring

POSITIVE = {
    "abs": jnp.abs,
    "softplus": jax.nn.softplus,
    "square": lambda x: 0.5 * jnp.square(x),
}
"""what makes generated weights positive: QMIX's absolute value, or another of PyMARL2's"""


@dataclass(frozen=True)
class MLP:
    """Graftable ReLU layers ``NAME_hidden`` (``NAME_hidden_1``, … if there are several), then a
    linear one: ``NAME_out``, or ``NAME`` if it is alone. Called inside the mixer, whose layers they
    are."""

    options: MixerOptions
    name: str
    hidden: tuple[int, ...]
    width: int
    kind: Kind = "linear"
    """of the linear layer"""

    def __call__(self, x: Float[Array, "*X I"]) -> Float[Array, "*X W"]:
        o, names = self.options, self.names()
        h: Any = x
        added: Any = None
        for name, width, after in zip(names, self.hidden, (*self.hidden[1:], None), strict=False):
            own = (self.width,) if o.own_outgoing and after is None else ()
            layer = GraftedDense(width, o.init, o.slots, 0, o.layer_norm, own, name=name)
            h = layer(h)
            if own:
                h, (added,) = h
        bias = o.init.bias(h.shape[-1])
        out = nn.Dense(self.width, kernel_init=o.init.dense, bias_init=bias, name=names[-1])(h)
        return out if added is None else out + added

    def names(self) -> tuple[str, ...]:
        """Return the names of the layers, in order."""
        if not self.hidden:
            return (self.name,)
        numbers = range(1, len(self.hidden) + 1)
        several = len(self.hidden) > 1
        hidden = (f"{self.name}_hidden_{i}" if several else f"{self.name}_hidden" for i in numbers)
        return (*hidden, f"{self.name}_out")

    def wiring(self) -> Wiring:
        """Every layer. Grafts with outgoing weights of their own cannot be read by grafts, so that
        only the last hidden layer has them."""
        init, paths = self.options.init, [f"mixer/{name}" for name in self.names()]
        groups = []
        for i, width in enumerate(self.hidden):
            inner = self.options.own_outgoing and i + 1 < len(self.hidden)
            kind: Kind = "fixed" if inner else "relu"
            reader = (paths[i + 1],)
            groups.append(NeuronGroup(paths[i], width, init.columns, reader, kind, init.bias))
        last = NeuronGroup(paths[-1], self.width, init.columns, (), self.kind, init.bias)
        return (*groups, last)


@dataclass(frozen=True)
class Monotonic:
    """QMIX's mixing network: elu(q |W_1(s)| + b_1(s)) |W_2(s)| + v(s), with two-layer hypernetworks
    (Rashid et al. 2018, fig. 2). ``positive`` is an entry of ``POSITIVE``.

    Positive weights make ∂Q_tot/∂Q_i ≥ 0 for every parameter, so each agent's greedy action
    is part of the greedy joint action (IGM). Only the hypernetworks' hidden layers can be
    operated on: a graft on the mixing units themselves would have a branch with a minus sign,
    and training it would break monotonicity.
    """

    options: MixerOptions
    positive: str = "abs"

    def __call__(
        self, values: Float[Array, "T B N"], state: Float[Array, "T B D"]
    ) -> Float[Array, "T B"]:
        b1, w1, w2, v = (part(state) for part in self.parts())
        positive = POSITIVE[self.positive]
        w1 = positive(w1).reshape(*values.shape, self.options.embed)
        mixed = jax.nn.elu(jnp.einsum("tbn,tbne->tbe", values, w1) + b1)
        return (mixed[..., None, :] @ positive(w2)[..., None])[..., 0, 0] + v[..., 0]

    def parts(self) -> tuple[MLP, ...]:
        """Return what generates b1, w1, w2 and v. The heads generate the last mixing layer."""
        o = self.options
        return (
            MLP(o, "b1", (), o.embed),
            MLP(o, "w1", (o.hyper_hidden,), o.n_agents * o.embed),
            MLP(o, "w2", (o.hyper_hidden,), o.embed, "head"),
            MLP(o, "v", (o.embed,), 1, "head"),
        )

    def wiring(self) -> Wiring:
        """Every dense layer."""
        return tuple(group for part in self.parts() for group in part.wiring())


@dataclass(frozen=True)
class Unrestricted:
    """A network of a critic's values and the state that represents every function of both: three
    hidden layers, and a value of the state beside them (Rashid et al. 2020, appendix B)."""

    options: MixerOptions
    name: str
    width: int

    def __call__(
        self, values: Float[Array, "T B N"], state: Float[Array, "T B D"]
    ) -> Float[Array, "T B"]:
        joint, alone = self.parts()
        return (joint(jnp.concatenate([state, values], axis=-1)) + alone(state))[..., 0]

    def parts(self) -> tuple[MLP, MLP]:
        """Return the network of both, and that of the state."""
        o, hidden = self.options, (self.width,) * 3
        return MLP(o, self.name, hidden, 1, "head"), MLP(o, f"{self.name}_v", hidden[:1], 1, "head")

    def wiring(self) -> Wiring:
        """Every dense layer."""
        return tuple(group for part in self.parts() for group in part.wiring())
