"""Run a method during training: measure after each gradient step, operate if surgery is due."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.checks import checked
from knife_jax.clock import Clock, crossed
from knife_jax.plasticity.base import NeuronStats, PerNeuron, PlasticityTransform
from knife_jax.types import Patient, PyTree


class Event(NamedTuple):
    """What happened to the network after one gradient step."""

    due: Bool[Array, ""]
    """whether surgery was due"""
    units_operated: Int[Array, ""]
    change: Float[Array, ""]
    """what ``compare`` returned; 0 if no surgery was due, NaN if nothing was compared"""
    scores: PerNeuron
    """relative update activity before surgery; {} if the method offers none"""


@runtime_checkable
class Compare(Protocol):
    def __call__(self, before: Patient, after: Patient, /) -> Float[Array, ""]:
        """Measure how much a surgery changed the network: a scalar (see ``change``)."""
        ...


@checked
def step(
    method: PlasticityTransform,
    patient: Patient,
    state: PyTree,
    stats: NeuronStats,
    before: Clock,
    after: Clock,
    key: PRNGKeyArray,
    compare: Compare | None = None,
) -> tuple[Patient, PyTree, Event]:
    """Measure one gradient step and operate on the network if surgery is due.

    To be called after every gradient step, inside jit. The surgery is a branch (``lax.cond``) on
    the Clocks: keep these unbatched under ``vmap``, and it costs nothing while it is not due.

    Args:
      method: The plasticity method.
      patient: Online network, target network (or ``{}``) and optimiser state after the gradient
        step.
      state: The method's state, at first ``method.init(patient.online)``.
      stats: ``neuron_stats`` of the gradient step.
      before: The Clock at the last call, or before the first gradient step.
      after: The Clock now.
      key: Draws fresh weights.
      compare: Computes ``Event.change`` of patients before and after surgery, only when one is due.

    Returns:
      Patient, state, and what happened.

    Raises:
      ValueError: An argument is of the wrong kind, or the patient's networks or optimiser state do
        not fit the method.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from knife_jax import plasticity as p
      >>> wiring = (p.NeuronGroup("hidden", 2, p.torch_init().columns, outgoing=("out",)),)
      >>> layer = lambda i, o: {"kernel": jnp.ones((i, o)), "bias": jnp.ones(o)}
      >>> params = {"hidden": layer(3, 2), "out": layer(2, 1)}
      >>> patient = p.Patient({"params": params}, {}, optax.adam(1e-3).init(params))
      >>> method = p.redo(wiring, when=p.every_updates(1), window=1)
      >>> stats = p.neuron_stats(wiring, params, params, {"hidden": jnp.array([0.0, 1.0])})
      >>> before, after = p.Clock.zero(), p.Clock.zero()._replace(updates=jnp.int32(1))
      >>> patient, state, event = p.step(
      ...     method, patient, method.init(patient.online), stats, before, after, jax.random.key(0)
      ... )
      >>> bool(event.due), int(event.units_operated)
      (True, 1)
      >>> patient.online["params"]["out"]["kernel"].ravel().tolist()
      [0.0, 1.0]
    """
    state = method.measure(state, stats, after)
    return operate_if_due(method, patient, state, before, after, key, compare)


@checked
def operate_if_due(
    method: PlasticityTransform,
    patient: Patient,
    state: PyTree,
    before: Clock,
    after: Clock,
    key: PRNGKeyArray,
    compare: Compare | None = None,
) -> tuple[Patient, PyTree, Event]:
    """Operate on the network if surgery is due, without measuring: ``step`` less its first half.

    For loops that operate at other moments than gradient steps. Arguments, returns and what is
    raised are those of ``step``.
    """
    scores = method.extras.scores(state) if method.extras.scores else {}

    def operate():
        operated, forgotten, report = method.operate(patient, state, key)
        change = jnp.asarray(jnp.nan) if compare is None else compare(patient, operated)
        return operated, forgotten, report.units_operated, change

    def leave():
        return patient, state, jnp.zeros((), jnp.int32), jnp.zeros(())

    due = crossed(method.trigger, before, after)
    patient, state, units, change = jax.lax.cond(due, operate, leave)
    return patient, state, Event(due, units, change, scores)
