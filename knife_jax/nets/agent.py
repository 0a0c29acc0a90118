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
from knife_jax.nets.wiring import Kind, NeuronGroup, Wiring


class RecurrentAgent(nn.Module):
    """Dense, ReLU, GRU, dense (DRQN; the agent of QMIX, Rashid et al. 2018, fig. 2), or several
    dense layers with ReLUs in place of one.

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
    n_layers: int = 1
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
        x = jnp.concatenate(inputs, axis=-1) if self.last_action else obs
        head = self.make_head()
        memories = ("", *(f"{name}_" for name in head.memories))
        before = jnp.split(carry, len(memories), axis=-1)
        states = [self.remember(*each, x, first) for each in zip(memories, before, strict=True)]
        h = jnp.concatenate(states, axis=-1)
        self.sow("intermediates", "representation", h)
        return h[-1], head(*states)

    def remember(
        self,
        prefix: str,
        carry: Float[Array, "B N H"],
        x: Float[Array, "T B N I"],
        first: Bool[Array, "T B"],
    ) -> Float[Array, "T B N H"]:
        """Return the state of one memory after each step, by an encoder and a GRU of its own."""
        seen: Any = x
        *inner, last = self.encoder(prefix)
        for name in (*inner, last):
            seen = GraftedDense(
                self.hidden_dim, self.init_with, self.slots,
                x.shape[-2] if self.agent_id and seen is x else 0, self.layer_norm,
                (self.hidden_dim,) * 3 if self.own_outgoing and name == last else (), name=name,
            )(seen)  # fmt: skip
        seen, added = seen if self.own_outgoing else (seen, ())
        return GRU(self.hidden_dim, self.init_with, name=f"{prefix}memory")(
            carry, seen, first, added
        )

    def encoder(self, prefix: str = "") -> list[str]:
        """Return the names of the ReLU layers of a memory, in order."""
        later = (f"{prefix}encoder_{i}" for i in range(2, self.n_layers + 1))
        return [f"{prefix}encoder", *later]

    def make_head(self) -> Head:
        """Return what reads the recurrent state."""
        return self.head_with(self.n_actions, self.hidden_dim, self.init_with)

    def initial_carry(self, *batch: int) -> Float[Array, "*batch H"]:
        """Return the recurrent state before the first step of an episode: zeros."""
        return jnp.zeros((*batch, self.hidden_dim * (1 + len(self.make_head().memories))))

    def wiring(self, network: str = "agent") -> Wiring:
        """Every dense layer: of each memory those of the encoder, the last of which is read by all
        gates of the GRU, and the gates; and the head. Grafts with outgoing weights of their own
        cannot be read by grafts, so that only the last layer has them. The encoders of memories
        that the head adds are not operated on. ``network`` is its name among those that are trained
        together."""
        head = self.make_head()
        added = (self._memory(f"{name}_", "fixed") for name in head.memories)
        groups = [*self._memory("", "relu"), *(group for part in added for group in part)]
        return tuple(
            group._replace(
                name=f"{network}/{group.name}",
                outgoing=tuple(f"{network}/{name}" for name in group.outgoing),
            )
            for group in (*groups, *head.wiring())
        )

    def _memory(self, prefix: str, kind: Kind) -> Wiring:
        width, init = self.hidden_dim, self.init_with
        reading = tuple(f"{prefix}memory/{gate}" for gate in INPUT_GATES)
        recurrent = tuple(f"{prefix}memory/{gate}" for gate in RECURRENT_GATES)
        fresh = {reading: init.gates, recurrent: init.recurrent_columns}
        names = self.encoder(prefix)
        readers = [*((name,) for name in names[1:]), reading]
        inner: Kind = "fixed" if self.own_outgoing else kind
        kinds: tuple[Kind, ...] = (inner,) * (len(names) - 1) + (kind,)
        return (
            *(
                NeuronGroup(name, width, init.columns, read, own, init.bias)
                for name, read, own in zip(names, readers, kinds, strict=True)
            ),
            *(
                NeuronGroup(gate, width, draw, (), "gate", init.bias)
                for gates, draw in fresh.items()
                for gate in gates
            ),
        )
