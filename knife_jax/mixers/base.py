"""What a mixer is, what it is made of, and what it can ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from knife_jax.nets.initialisers import Init
from knife_jax.nets.wiring import Wiring
from knife_jax.types import PyTree, Variables


@dataclass(frozen=True, kw_only=True)
class MixerOptions:
    """What a mixer is made of. A mixer leaves aside what it has no use for."""

    n_agents: int
    embed: int
    """width of the mixing layer"""
    hyper_hidden: int
    """hidden width of the hypernetworks"""
    init: Init
    """initial weights"""
    slots: int = 0
    """graft slots of every neuron that can be operated on"""
    layer_norm: bool = False
    """whether hidden layers are normalised before their nonlinearity"""
    own_outgoing: bool = False
    """whether grafts have outgoing weights of their own"""


class Joint(NamedTuple):
    """Joint actions at T steps of B environments, and all that a mixer could want to know."""

    values: Float[Array, "T B N A"]
    """the agents' values of all their actions"""
    action: Int[Array, "T B N"]
    """the actions whose Q_tot is wanted"""
    state: Float[Array, "T B D"]
    avail_actions: Bool[Array, "T B N A"]


INPUTS: dict[str, Callable[[Joint], Array]] = {
    "state": lambda joint: joint.state,
    "max_values": lambda joint: jnp.max(
        jnp.where(joint.avail_actions, joint.values, -jnp.inf), axis=-1
    ),
    "action": lambda joint: joint.action,
}
"""What ``Mixer.needs`` can name: the global state [T, B, D], the largest value that each agent has
among its available actions [T, B, N], the actions themselves [T, B, N]."""


@runtime_checkable
class Mixer(Protocol):
    """A flax module that makes one team value of the agents' values.

    Value factorisation rests on IGM: each agent's greedy action is part of the greedy joint action.
    A mixer that is monotonic in every agent's value has it (Rashid et al. 2018, eq. 4-5).
    """

    needs: ClassVar[tuple[str, ...]]
    """names of ``INPUTS`` that a call gets as keyword arguments, besides the values"""

    def __call__(self, values: Float[Array, "T B N"], **inputs: Array) -> Float[Array, "T B"]:
        """Return Q_tot of joint actions.

        Args:
          values: What each agent's network says of its own action.
          inputs: What ``needs`` names.
        """
        ...

    def wiring(self) -> Wiring:
        """Return the groups of its neurons, whose layers are named ``mixer/...``."""
        ...

    def init(self, key: Array, values: Array, **inputs: Array) -> Variables:
        """Draw its variables (flax)."""
        ...

    def apply(
        self, variables: Variables, values: Array, *, mutable: str, **inputs: Array
    ) -> tuple[Array, PyTree]:
        """Call it with its variables; also return the collection ``mutable`` (flax)."""
        ...
