"""The seam of value factorisation: head × mixer × error.

An algorithm is a ``Factorisation``, made of ``MixerOptions``:

- the **head** turns each agent's recurrent state into values of its actions, and samples of their
  return if it learns the distribution (``nets.heads``);
- the **mixer** turns these into estimates of the team's return: Q_tot and whatever else is trained.
  What it gets besides the values is named in ``needs``, and that alone decides which networks
  there are: an entry of ``CRITICS`` in ``needs`` is a further recurrent network of the agents;
- each estimate has a **goal**, the return computed from rewards and from the target network's
  estimate of the greedy joint action (``bootstrap`` says which estimate);
- the **error** compares estimates with goals. The loss is its mean over the transitions of a batch.

Whatever weights these have lie under a network's name in ``params`` (``agent``, ``mixer``, a
critic), and its neurons in a wiring: optimiser, target network, checkpoints, surgery, statistics,
shards and seeds treat them alike. A mixer alone is a factorisation with the usual head and error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from knife_jax.nets.heads import ActionValues, DenseHead, MakeHead
from knife_jax.nets.initialisers import Init
from knife_jax.nets.wiring import Wiring

CRITICS = ("star", "residual")
"""networks like the agents' own, by which nobody acts"""


@dataclass(frozen=True, kw_only=True)
class MixerOptions:
    """What a mixer is made of. A mixer leaves aside what it has no use for."""

    n_agents: int
    n_actions: int
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

    agents: Mapping[str, ActionValues]
    """what ``agent`` and the critics say of all actions"""
    action: Int[Array, "T B N"]
    """the actions whose Q_tot is wanted"""
    state: Float[Array, "T B D"]
    avail_actions: Bool[Array, "T B N A"]

    @property
    def values(self) -> Float[Array, "T B N A"]:
        """The values that the agents act by."""
        return self.agents["agent"].values


def take_action_values(
    values: Float[Array, "*X A"], action: Int[Array, "*X"]
) -> Float[Array, "*X"]:
    """Return the value of the action that was taken."""
    return jnp.take_along_axis(values, action[..., None], axis=-1)[..., 0]


def _max_values(joint: Joint) -> Float[Array, "T B N"]:
    return jnp.max(jnp.where(joint.avail_actions, joint.values, -jnp.inf), axis=-1)


def _distribution(joint: Joint) -> tuple[Float[Array, "T B N A K"], Float[Array, "T B K"]]:
    _, samples, levels = joint.agents["agent"]
    if samples is None or levels is None:
        raise ValueError("a mixer that needs samples is refused: must be with a head that has some")
    return samples, levels


def _samples(joint: Joint) -> Float[Array, "T B N K"]:
    action = joint.action[..., None, None]
    return jnp.take_along_axis(_distribution(joint)[0], action, axis=-2)[..., 0, :]


def _greedy(joint: Joint) -> Bool[Array, "T B"]:
    taken = take_action_values(joint.values, joint.action)
    return jnp.all(taken >= _max_values(joint), axis=-1)


def _of_critic(name: str) -> Callable[[Joint], Array]:
    return lambda joint: take_action_values(joint.agents[name].values, joint.action)


INPUTS: dict[str, Callable[[Joint], Array]] = {
    "state": lambda joint: joint.state,
    "max_values": _max_values,
    "action": lambda joint: joint.action,
    "greedy": _greedy,
    "samples": _samples,
    "levels": lambda joint: _distribution(joint)[1],
    **{name: _of_critic(name) for name in CRITICS},
}
"""What ``Mixer.needs`` can name: the global state [T, B, D], the largest value that each agent has
among its available actions [T, B, N], the actions themselves [T, B, N], whether all of them are
greedy [T, B], samples of their returns [T, B, N, K] and the quantile levels of these [T, B, K], and
a critic's values of them [T, B, N]."""

Estimates = Mapping[str, Float[Array, "T B ..."]]
"""estimates of the team's return: ``q_tot``, and whatever else a mixer has trained. Along further
axes there are several, whose mean is the estimate"""


@runtime_checkable
class Mixer(Protocol):
    """A flax module that makes one team value of the agents' values.

    Value factorisation rests on IGM: each agent's greedy action is part of the greedy joint action.
    A mixer that is monotonic in every agent's value has it (Rashid et al. 2018, eq. 4-5).
    """

    needs: ClassVar[tuple[str, ...]]
    """names of ``INPUTS`` that a call gets as keyword arguments, besides the values"""

    def __call__(self, *args: Any, **kwargs: Any) -> Array | Estimates:
        """Return Q_tot of joint actions [T, B, …], or several estimates of which it is one.

        Args:
          args: The values [T, B, N], what each agent's network says of its own action.
          kwargs: What ``needs`` names, by name.
        """
        ...

    def wiring(self) -> Wiring:
        """Return the groups of its neurons, whose layers are named ``mixer/...``."""
        ...

    def init(self, rngs: Any, *args: Any, **inputs: Any) -> Any:
        """Draw its variables with a key, given values and inputs (flax)."""
        ...

    def apply(self, variables: Any, *args: Any, mutable: Any = False, **inputs: Any) -> Any:
        """Call it with its variables; also return the collection ``mutable`` (flax)."""
        ...


class Goals(NamedTuple):
    """What estimates are compared with, free of gradients."""

    returns: Estimates
    """a goal for each estimate; its further axes may be of other lengths"""
    greedy: Estimates
    """what the target network says of the greedy joint action in place of the one taken"""
    reward: Float[Array, "T B"]
    """as it is learnt"""


@runtime_checkable
class Error(Protocol):
    def __call__(self, estimates: Estimates, goals: Goals, joint: Joint) -> Float[Array, "T B"]:
        """Return how wrong the estimates of the joint actions taken are, at every transition."""
        ...


def mean_of(estimate: Float[Array, "T B *X"]) -> Float[Array, "T B"]:
    """Return the mean over what follows the axes T and B."""
    axes = tuple(range(2, estimate.ndim))
    return jnp.mean(estimate, axis=axes) if axes else estimate


def squared(estimates: Estimates, goals: Goals, joint: Joint) -> Float[Array, "T B"]:
    """The squared temporal-difference error, summed over the estimates (an ``Error``)."""
    del joint
    errors = [mean_of(jnp.square(q - goals.returns[name])) for name, q in estimates.items()]
    return sum(errors[1:], start=errors[0])


class Factorisation(NamedTuple):
    """An algorithm of value factorisation; see above."""

    mixer: Mixer
    head: MakeHead = DenseHead
    bootstrap: str | None = None
    """the estimate whose target value all goals are made of; None: each of its own"""
    error: Error = squared


@runtime_checkable
class MakeMixer(Protocol):
    """An entry of ``MIXERS``."""

    def __call__(self, options: MixerOptions, **arguments: object) -> Mixer | Factorisation:
        """Return a mixer, or a factorisation, with the fields that its section of the
        configuration adds to ``AlgoConfig``."""
        ...
