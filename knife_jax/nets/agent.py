"""The recurrent agent network, one for all agents."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from knife_jax.nets.graft import GraftedDense
from knife_jax.nets.gru import GRU, INPUT_GATES, RECURRENT_GATES
from knife_jax.nets.heads import ActionValues, DenseHead, Head, MakeHead
from knife_jax.nets.initialisers import Init
from knife_jax.nets.wiring import NeuronGroup, Wiring


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
    head_with: MakeHead = DenseHead

    @nn.compact
    def __call__(
        self,
        carry: Float[Array, "B N H"],
        obs: Float[Array, "T B N O"],
        last_action: Int[Array, "T B N"],
        first: Bool[Array, "T B"],
    ) -> tuple[Float[Array, "B N H"], ActionValues]:
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
        return h[-1], self.make_head()(h)

    def make_head(self) -> Head:
        """Return what reads the recurrent state."""
        return self.head_with(self.n_actions, self.hidden_dim, self.init_with)

    def initial_carry(self, *batch: int) -> Float[Array, "*batch H"]:
        """Return the recurrent state before the first step of an episode: zeros."""
        return jnp.zeros((*batch, self.hidden_dim))

    def wiring(self, network: str = "agent") -> Wiring:
        """Every dense layer: the encoder, whose neurons all gates of the GRU read, the gates, and
        the head. ``network`` is its name among those that are trained together."""
        width, init = self.hidden_dim, self.init_with
        reading = tuple(f"{network}/memory/{gate}" for gate in INPUT_GATES)
        recurrent = tuple(f"{network}/memory/{gate}" for gate in RECURRENT_GATES)
        fresh = {reading: init.gates, recurrent: init.recurrent_columns}
        return (
            NeuronGroup(f"{network}/encoder", width, init.columns, reading, "relu", init.bias),
            *(
                NeuronGroup(gate, width, draw, (), "gate", init.bias)
                for gates, draw in fresh.items()
                for gate in gates
            ),
            *(
                group._replace(
                    name=f"{network}/{group.name}",
                    outgoing=tuple(f"{network}/{name}" for name in group.outgoing),
                )
                for group in self.make_head().wiring()
            ),
        )
