"""The contract of a plasticity method, in types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.clock import Clock, Trigger
from knife_jax.nets.wiring import Wiring
from knife_jax.types import Patient, PyTree, Trajectory, Variables

PerNeuron = Mapping[str, Float[Array, "W"]]
"""name of a neuron group -> one number per neuron"""
Chosen = Mapping[str, Bool[Array, "W"]]
"""name of a neuron group -> whether a neuron is chosen"""

Importance = Literal["fisher", "output_slopes"]
"""how much a weight matters: its mean squared gradient of the loss, or its mean absolute gradient
of the outputs' squared norm (see ``importance.py``)"""
Stat = Literal["outgoing", "sensitivity", "fisher", "output_slopes"]
"""a statistic that is taken only for methods that need it"""


class NeuronStats(struct.PyTreeNode):
    """What one gradient step shows of every neuron (see ``neuron_stats``)."""

    activation: PerNeuron
    """mean |h_i| over the rows of the batch"""
    gradient: PerNeuron
    """‖g_i‖: norm of the loss gradient of the incoming weights, before clipping, without bias"""
    weight: PerNeuron
    """‖w_i‖: norm of the incoming weights, without bias"""
    outgoing: PerNeuron = struct.field(default_factory=dict)
    """mean |v_i| of the outgoing weights, if needed"""
    sensitivity: PerNeuron = struct.field(default_factory=dict)
    """mean |∂L/∂z_i| over the rows of the batch, z_i being the pre-activation, if needed"""
    importance: PyTree = struct.field(default_factory=dict)
    """how much each weight matters, a tree like ``params``, if needed: at gradient steps after
    which surgery is due; at others zeros will do"""


class Report(struct.PyTreeNode):
    """What one surgery did, summed over the groups."""

    units_operated: Int[Array, ""]


@runtime_checkable
class InitFn(Protocol):
    def __call__(self, online: Variables) -> PyTree:
        """Make the method's state.

        Args:
          online: The online network's collections, ``params`` and, for grafts, ``grafts``.

        Returns:
          The state that ``measure`` and ``operate`` pass on, a tree of arrays.

        Raises:
          ValueError: The method was not made for this network.
        """
        ...


@runtime_checkable
class MeasureFn(Protocol):
    def __call__(self, state: PyTree, stats: NeuronStats, clock: Clock) -> PyTree:
        """Take the statistics of one gradient step into the state.

        Args:
          state: The method's state.
          stats: Statistics of every neuron, ``[W]`` by group.
          clock: The Clock after the gradient step.

        Returns:
          The new state, of the same shapes and dtypes.
        """
        ...


@runtime_checkable
class OperateFn(Protocol):
    def __call__(
        self, patient: Patient, state: PyTree, key: PRNGKeyArray
    ) -> tuple[Patient, PyTree, Report]:
        """Operate on the neurons that the method selects.

        Args:
          patient: Online network, target network (or ``{}``) and optimiser state.
          state: The method's state.
          key: Draws the fresh weights, which are those of both networks.

        Returns:
          Patient and state, of the same structure, shapes and dtypes, and what was done.
        """
        ...


class Claims(NamedTuple):
    """What is true of every surgery by a method. The contract test holds methods to it."""

    preserves: Literal["outputs", "greedy", "nothing"] = "nothing"
    """what stays exactly as it is: every value, each agent's greedy action, or neither"""
    moments: Literal["seeded", "kept", "restarted"] = "seeded"
    """what becomes of the optimiser's moments: fresh on the entries operated on, all as they are,
    or the optimiser starts again"""
    continual: bool = False
    """surgery is due at every update and mostly finds nothing to do: a log should have only the
    updates at which a neuron was operated on, without the cost of comparing values at each"""


class Extras(NamedTuple):
    """What a method asks of the training loop, or adds to it, beside surgery."""

    needs: tuple[Stat, ...] = ()
    """statistics beyond those that every method gets"""
    optimiser: Callable[[optax.GradientTransformation], optax.GradientTransformation] = lambda tx: (
        tx
    )
    """the optimiser with what the method adds to its chain"""
    augment: Callable[[Trajectory, PRNGKeyArray], Trajectory] = lambda batch, key: batch
    """the batch as the method wants it to be learnt from"""
    scores: Callable[[PyTree], PerNeuron] | None = None
    """the method's state -> relative update activity of every neuron, for the log"""


@dataclass(frozen=True)
class PlasticityTransform:
    """A plasticity method: a value made by a factory, combined and never subclassed.

    ``measure`` runs after every gradient step; ``operate`` only if ``trigger`` came due between
    the Clocks before and after the step. ``step`` does both.
    """

    init: InitFn
    measure: MeasureFn
    operate: OperateFn
    trigger: Trigger
    claims: Claims = field(default_factory=Claims)
    extras: Extras = field(default_factory=Extras)


@dataclass(frozen=True)
class Meter:
    """A running measurement of every neuron, as pure functions of its state."""

    init: Callable[[], PyTree]
    update: Callable[[PyTree, NeuronStats], PyTree]
    """the state after one more gradient step"""
    scores: Callable[[PyTree], Any]
    """what neurons are selected by: ``PerNeuron``, or with ``ordered_by`` two of these"""
    mature: Callable[[PyTree], Chosen]
    """whether a neuron was measured for long enough to be operated on"""
    forget: Callable[[PyTree, Chosen], PyTree]
    """the state in which the chosen neurons were never measured"""


@runtime_checkable
class Select(Protocol):
    def __call__(self, scores: PerNeuron, allowed: Chosen, key: PRNGKeyArray) -> Chosen:
        """Choose neurons to operate on.

        Args:
          scores: One number per neuron, ``[W]`` by group.
          allowed: The neurons that are mature and can be operated on.
          key: For rules that draw.

        Returns:
          The chosen neurons, all of them allowed.
        """
        ...


class Rewrite(NamedTuple):
    """A way to rewrite the chosen neurons."""

    operable: Callable[[Patient], Chosen]
    """the neurons that can be rewritten (again)"""
    apply: Callable[[Patient, Chosen, PRNGKeyArray], Patient]
    """the patient with the chosen neurons rewritten, online and target alike"""
    check: Callable[[Variables], None] = lambda online: None
    """raises ValueError for a network that cannot be rewritten in this way"""


@runtime_checkable
class Factory(Protocol):
    """What makes a method: an entry of ``METHODS``."""

    def __call__(self, wiring: Wiring, *args: Any, **options: Any) -> PlasticityTransform:
        """Make the method.

        Args:
          wiring: The groups of neurons that it may measure and operate on.
          options: ``when``, a Trigger, if it operates at times that others choose, and the fields
            of its section in the configuration.

        Raises:
          ValueError: An option is not allowed, or the wiring has no group to operate on.
        """
        ...
