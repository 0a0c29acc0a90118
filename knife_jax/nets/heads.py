"""What the agents' network puts out, and the head that makes it of the recurrent state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from flax import linen as nn
from jaxtyping import Array, Float

from knife_jax.nets.initialisers import Init
from knife_jax.nets.wiring import NeuronGroup, Wiring


class ActionValues(NamedTuple):
    """What a network of the agents says of every action."""

    values: Float[Array, "T B N A"]
    """by which actions are chosen"""
    samples: Float[Array, "T B N A K"] | None = None
    """of the return, if its distribution is learnt"""
    levels: Float[Array, "T B K"] | None = None
    """the quantile levels of the samples"""


@runtime_checkable
class Head(Protocol):
    """The last layers of the agents' network: a value that compares equal to its equals."""

    memories: ClassVar[tuple[str, ...]]
    """names of further recurrent memories that it reads, each with an encoder of its own"""

    def __call__(self, *args: Any, **kwargs: Any) -> ActionValues:
        """Return the values of all actions; called inside the network, whose layers it makes.

        Arguments are the states [T, B, N, H] of the network's memory and of ``memories``, after
        each step.
        Randomness is the flax stream ``samples`` in learning and ``acting`` in exploration. Without
        them, as in evaluations and in diagnostics, a head is a function of the states.
        """
        ...

    def wiring(self) -> Wiring:
        """Return the groups of its neurons, named from the network on: ``head``."""
        ...


@runtime_checkable
class MakeHead(Protocol):
    def __call__(self, n_actions: int, hidden_dim: int, init_with: Init) -> Head:
        """Return a head that reads ``hidden_dim`` units."""
        ...


@dataclass(frozen=True)
class DenseHead:
    """One linear layer, a value for each action."""

    n_actions: int
    hidden_dim: int
    init_with: Init
    memories: ClassVar[tuple[str, ...]] = ()

    def __call__(self, h: Float[Array, "T B N H"]) -> ActionValues:
        init = self.init_with
        bias = init.bias(self.hidden_dim)
        layer = nn.Dense(self.n_actions, kernel_init=init.dense, bias_init=bias, name="head")
        return ActionValues(layer(h))

    def wiring(self) -> Wiring:
        """The layer."""
        init = self.init_with
        return (NeuronGroup("head", self.n_actions, init.columns, (), "head", init.bias),)
