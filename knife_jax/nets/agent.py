"""The recurrent agent network, one for all agents."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from knife_jax.nets.graft import GraftedDense
from knife_jax.nets.gru import GRU, INPUT_GATES, RECURRENT_GATES
from knife_jax.nets.initialisers import Init
from knife_jax.nets.wiring import NeuronGroup


class RecurrentAgent(nn.Module):
    """Dense, ReLU, GRU, dense (DRQN; the agent of QMIX, Rashid et al. 2018, fig. 2).

    Shared by all agents, which may be told apart by a one-hot id and by their own last action.
    """

    n_actions: int
    hidden_dim: int
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
        last_action: Int[Array, "T B N"],
        first: Bool[Array, "T B"],
    ) -> tuple[Float[Array, "B N H"], Float[Array, "T B N A"]]:
        """Return the carry after the last step and each agent's values at every step.

        Args:
          carry: recurrent state before the first step; see ``initial_carry``.
          obs: what the agents observe.
          last_action: each agent's action before the step, -1 for none.
          first: whether an episode begins at the step: carry and last action are then forgotten.
        """
        inputs = [obs]
        if self.last_action:
            last_action = jnp.where(first[..., None], -1, last_action)
            inputs.append(jax.nn.one_hot(last_action, self.n_actions))
        ids = obs.shape[-2] if self.agent_id else 0
        encoder = GraftedDense(
            self.hidden_dim, self.init_with, self.slots, ids, self.layer_norm,
            (self.hidden_dim,) * 3 if self.own_outgoing else (), name="encoder",
        )  # fmt: skip
        x: Any = encoder(jnp.concatenate(inputs, axis=-1) if self.last_action else obs)
        x, added = x if self.own_outgoing else (x, ())
        h = GRU(self.hidden_dim, self.init_with, name="memory")(carry, x, first, added)
        self.sow("intermediates", "representation", h)
        head = nn.Dense(
            self.n_actions,
            kernel_init=self.init_with.dense,
            bias_init=self.init_with.bias(self.hidden_dim),
            name="head",
        )
        return h[-1], head(h)

    def initial_carry(self, *batch: int) -> Float[Array, "*batch H"]:
        """Return the recurrent state before the first step of an episode: zeros."""
        return jnp.zeros((*batch, self.hidden_dim))

    def wiring(self) -> tuple[NeuronGroup, ...]:
        """Every dense layer: the encoder, whose neurons all gates of the GRU read, the gates, and
        the head."""
        width, init = self.hidden_dim, self.init_with
        reading = tuple(f"agent/memory/{gate}" for gate in INPUT_GATES)
        recurrent = tuple(f"agent/memory/{gate}" for gate in RECURRENT_GATES)
        fresh = {reading: init.gates, recurrent: init.recurrent_columns}
        return (
            NeuronGroup("agent/encoder", width, init.columns, reading, "relu", init.bias),
            *(
                NeuronGroup(gate, width, draw, (), "gate", init.bias)
                for gates, draw in fresh.items()
                for gate in gates
            ),
            NeuronGroup("agent/head", self.n_actions, init.columns, (), "head", init.bias),
        )
