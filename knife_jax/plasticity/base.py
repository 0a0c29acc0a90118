"""The contract of a plasticity method, in types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, Protocol

import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.clock import Clock, Trigger
from knife_jax.types import Patient, PyTree, Trajectory, Variables

PerNeuron = Mapping[str, Float[Array, "W"]]
"""name of a neuron group -> one number per neuron"""
Chosen = Mapping[str, Bool[Array, "W"]]

Stat = Literal["outgoing", "sensitivity"]


@struct.dataclass
class NeuronStats:
    """What one gradient step shows of every neuron. The last two are measured on request."""

    activation: PerNeuron
    """mean |h_i| over the rows of the batch"""
    gradient: PerNeuron
    """‖g_i‖: norm of the loss gradient of the incoming weights, before clipping, without bias"""
    weight: PerNeuron
    """‖w_i‖: norm of the incoming weights, without bias"""
    outgoing: PerNeuron = struct.field(default_factory=dict)
    """mean |v_i| of the outgoing weights"""
    sensitivity: PerNeuron = struct.field(default_factory=dict)
    """mean |∂L/∂z_i| over the rows of the batch, z_i being the pre-activation"""


@struct.dataclass
class Report:
    """What one surgery did, summed over the groups."""

    units_operated: Int[Array, ""]


def no_scores(state: PyTree) -> PerNeuron:
    """The scores of a method that measures nothing."""
    del state
    return {}


class PlasticityTransform(NamedTuple):
    """A plasticity method: a value made by a factory, combined and never subclassed.

    ``measure`` runs after every gradient step, with the Clock after it; ``operate`` only when
    ``trigger`` came due between the Clocks before and after the step. A method must leave the
    shapes and dtypes of the whole patient as they are, and operate on online and target network
    with the same draws.
    """

    init: Callable[[Variables], PyTree]
    measure: Callable[[PyTree, NeuronStats, Clock], PyTree]
    operate: Operate
    trigger: Trigger
    scores: Callable[[PyTree], PerNeuron] = no_scores
    """relative update activity, for the log"""
    needs: tuple[Stat, ...] = ()
    """statistics beyond those that every method gets"""
    preserves: Literal["outputs", "greedy", "nothing"] = "nothing"
    """what surgery leaves exactly as it is: every value, each agent's greedy action, or neither"""
    moments: Literal["seeded", "kept", "restarted"] = "seeded"
    """what becomes of the optimiser's moments: fresh on the entries operated on, all as they are,
    or the optimiser starts again"""
    continual: bool = False
    """acts at every update: its surgeries are logged where a neuron was operated on, and the
    change of the values is not measured"""
    optimiser: Callable[[optax.GradientTransformation], optax.GradientTransformation] = lambda tx: (
        tx
    )
    """what the method adds to the optimiser's chain"""
    augment: Callable[[Trajectory, PRNGKeyArray], Trajectory] = lambda batch, key: batch
    """what the method does to a batch before it is learnt from"""


class Operate(Protocol):
    def __call__(
        self, patient: Patient, state: PyTree, key: PRNGKeyArray
    ) -> tuple[Patient, PyTree, Report]: ...


class Meter(NamedTuple):
    """A running measurement of every neuron; ``forget`` restarts it for the neurons operated on."""

    init: Callable[[], PyTree]
    update: Callable[[PyTree, NeuronStats], PyTree]
    scores: Callable[[PyTree], PerNeuron]
    mature: Callable[[PyTree], Chosen]
    forget: Callable[[PyTree, Chosen], PyTree]


class Select(Protocol):
    """Whom to operate on: among the neurons that may be, by their scores."""

    def __call__(self, scores: PerNeuron, allowed: Chosen, key: PRNGKeyArray) -> Chosen: ...


class Rewrite(NamedTuple):
    """How the chosen neurons are rewritten, and which ones still can be."""

    operable: Callable[[Patient], Chosen]
    apply: Callable[[Patient, Chosen, PRNGKeyArray], Patient]
    check: Callable[[Variables], None] = lambda online: None
    """raises ValueError for a network that cannot be rewritten in this way"""
