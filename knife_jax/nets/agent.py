"""The recurrent agent network, one for all agents."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from knife_jax.nets.graft import GraftedDense
from knife_jax.nets.init import Init
from knife_jax.nets.wiring import NeuronGroup


@jax.custom_vjp
def _gates(reset, update, new, recurrent, h):
    """The next state of a GRU, (1 - z) n + z h with n = tanh(new + r recurrent), from its
    pre-activations.

    Its gradient is written out because a scan then keeps five arrays a step for it, not twelve.
    """
    return _gates_forward(reset, update, new, recurrent, h)[0]


def _gates_forward(reset, update, new, recurrent, h):
    r, z = jax.nn.sigmoid(reset), jax.nn.sigmoid(update)
    n = jnp.tanh(new + r * recurrent)
    return (1.0 - z) * n + z * h, (r, z, n, recurrent, h)


def _gates_backward(kept, g):
    r, z, n, recurrent, h = kept
    new = g * (1.0 - z) * (1.0 - n * n)
    return new * recurrent * r * (1.0 - r), g * (h - n) * z * (1.0 - z), new, new * r, g * z


_gates.defvjp(_gates_forward, _gates_backward)


class _GRUCell(nn.Module):
    """flax's GRUCell, to whose gates r, z and n something may be added before they act."""

    hidden: int
    init_with: Init

    @nn.compact
    def __call__(self, h, x, *added):
        init = self.init_with

        def dense(name: str, kernel_init, value, use_bias=True):
            return nn.Dense(
                self.hidden, use_bias=use_bias, kernel_init=kernel_init,
                bias_init=init.bias(self.hidden), name=name,
            )(value)  # fmt: skip

        gates = [dense(name, init.dense, x) for name in ("ir", "iz", "in")]
        if added:
            gates = [gate + more for gate, more in zip(gates, added, strict=True)]
        reset, update, new = gates
        reset = reset + dense("hr", init.recurrent, h, use_bias=False)
        update = update + dense("hz", init.recurrent, h, use_bias=False)
        return _gates(reset, update, new, dense("hn", init.recurrent, h), h)


class _Memory(nn.Module):
    """One step of a GRU that forgets before the first row of an episode."""

    hidden: int
    init_with: Init

    @nn.compact
    def __call__(self, carry, inputs):
        x, first, *added = inputs
        carry = jnp.where(first[..., None, None], 0.0, carry)
        h = _GRUCell(self.hidden, self.init_with, name="GRUCell_0")(carry, x, *added)
        return h, h


class RecurrentAgent(nn.Module):
    """Dense, ReLU, GRU, dense (DRQN; the agent of QMIX, Rashid et al. 2018, fig. 2).

    Shared by all agents, which may be told apart by a one-hot id and by their own last action.
    """

    n_actions: int
    hidden: int
    init_with: Init
    slots: int = 0
    agent_id: bool = True
    last_action: bool = True
    layer_norm: bool = False
    own_outgoing: bool = False

    @nn.compact
    def __call__(
        self,
        carry: Float[Array, "B N H"],
        obs: Float[Array, "T B N O"],
        previous: Int[Array, "T B N"],
        first: Bool[Array, "T B"],
        open_slots: Int[Array, ""] | int,
    ) -> tuple[Float[Array, "B N H"], Float[Array, "T B N A"]]:
        """``previous`` is each agent's action before the row, -1 for none."""
        inputs = [obs]
        if self.last_action:
            previous = jnp.where(first[..., None], -1, previous)
            inputs.append(jax.nn.one_hot(previous, self.n_actions))
        ids = obs.shape[-2] if self.agent_id else 0
        encoder = GraftedDense(
            self.hidden, self.init_with, self.slots, ids, self.layer_norm,
            (self.hidden,) * 3 if self.own_outgoing else (), name="encoder",
        )  # fmt: skip
        x = encoder(jnp.concatenate(inputs, axis=-1) if self.last_action else obs, open_slots)
        rows = (x[0], first, *x[1]) if self.own_outgoing else (x, first)
        scan = nn.scan(_Memory, variable_broadcast="params", split_rngs={"params": False})
        carry, h = scan(self.hidden, self.init_with, name="memory")(carry, rows)
        self.sow("probes", "representation", h)
        head = nn.Dense(
            self.n_actions,
            kernel_init=self.init_with.dense,
            bias_init=self.init_with.bias(self.hidden),
            name="head",
        )
        return carry, head(h)

    def wiring(self) -> tuple[NeuronGroup, ...]:
        """Every dense layer: the encoder, whose neurons all gates of the GRU read, the gates, and
        the head."""
        width, init, cell = self.hidden, self.init_with, "agent/memory/GRUCell_0"
        reading = tuple(f"{cell}/{gate}" for gate in ("ir", "iz", "in"))
        recurrent = tuple(f"{cell}/{gate}" for gate in ("hr", "hz", "hn"))
        fresh = {reading: init.columns, recurrent: init.recurrent_columns}
        return (
            NeuronGroup("agent/encoder", width, init.columns, reading, "relu", init.bias),
            *(
                NeuronGroup(gate, width, draw, (), "gate", init.bias)
                for gates, draw in fresh.items()
                for gate in gates
            ),
            NeuronGroup("agent/head", self.n_actions, init.columns, (), "head", init.bias),
        )
