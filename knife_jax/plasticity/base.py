"""The contract of a plasticity method, in types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.schedules import Gate
from knife_jax.types import Patient, PyTree, Variables

PerNeuron = Mapping[str, Float[Array, "W"]]
"""name of a neuron group -> one number per neuron"""
Chosen = Mapping[str, Bool[Array, "W"]]


class Probes(NamedTuple):
    """What one gradient step shows of every neuron."""

    activation: PerNeuron
    """mean |h_i| over the rows of the batch"""
    gradient: PerNeuron
    """‖g_i‖: norm of the loss gradient of the incoming weights, before clipping, without bias"""
    weight: PerNeuron
    """‖w_i‖: norm of the incoming weights, without bias"""


@struct.dataclass
class Report:
    """What one surgery did, summed over the groups."""

    units_operated: Int[Array, ""]


class PlasticityTransform(NamedTuple):
    """A plasticity method: a value made by a factory, combined and never subclassed.

    ``measure`` runs after every gradient step; ``operate`` only when ``gate`` came due between
    the Clocks before and after the step. A method must leave the shapes and dtypes of the whole
    patient as they are, and operate on online and target network with the same draws.
    """

    init: Callable[[Variables], PyTree]
    measure: Callable[[PyTree, Probes], PyTree]
    scores: Callable[[PyTree], PerNeuron]
    operate: Operate
    gate: Gate


class Operate(Protocol):
    def __call__(
        self, patient: Patient, state: PyTree, key: PRNGKeyArray
    ) -> tuple[Patient, PyTree, Report]: ...


class Meter(NamedTuple):
    """A running measurement of every neuron; ``forget`` restarts it for the neurons operated on."""

    init: Callable[[], PyTree]
    update: Callable[[PyTree, Probes], PyTree]
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


def relative(values: Float[Array, "W"]) -> Float[Array, "W"]:
    """Values over their mean in the layer; all 0 where the layer as a whole has collapsed.

    A layer whose mean is 0 or not finite has no neuron that is better than another, so every
    one of them counts as lost rather than none (0/0 would hide a total collapse).
    """
    mean = jnp.mean(values)
    alive = jnp.isfinite(mean) & (mean > 0)
    return jnp.where(alive, values / jnp.where(alive, mean, 1.0), 0.0)
