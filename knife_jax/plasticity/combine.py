"""Combinators: a method from its parts, and methods from methods."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from knife_jax.checks import checked, refuse
from knife_jax.clock import Trigger, never
from knife_jax.config.schema import Size
from knife_jax.nets.wiring import Wiring, check, some
from knife_jax.plasticity.base import (
    Chosen,
    Claims,
    Meter,
    PlasticityTransform,
    Report,
    Rewrite,
    Select,
)

SELECT = 2
"""folded into a surgery's key for its selection; rewrites draw from the key itself"""


def operated(chosen: Chosen) -> Report:
    """Report how many neurons were chosen."""
    units: Int[Array, ""] = sum((jnp.sum(c) for c in chosen.values()), jnp.zeros((), jnp.int32))
    return Report(units_operated=units)


def all_of(wiring: Wiring) -> Chosen:
    """Choose every neuron."""
    return {group.name: jnp.ones(group.width, bool) for group in wiring}


def identity() -> PlasticityTransform:
    """Make the method without surgery, for others to be derived from."""

    def operate(patient, state, key):
        del key
        return patient, state, operated({})

    return PlasticityTransform(
        init=lambda online: (),
        measure=lambda state, stats, clock: state,
        operate=operate,
        trigger=never,
        claims=Claims(preserves="outputs"),
    )


@checked
def surgery(
    wiring: Wiring, meter: Meter, select: Select, rewrite: Rewrite, when: Trigger
) -> PlasticityTransform:
    """Make a method of its parts: meter × select × rewrite × when.

    It measures at every update; when surgery is due, it selects among the neurons that are mature
    and operable, and rewrites them. It claims nothing: ``dataclasses.replace`` its ``claims``.

    Args:
      wiring: The groups whose neurons are operated on.
      meter: What is measured of every neuron.
      select: Which neurons are chosen, by their scores.
      rewrite: How the chosen neurons are rewritten.
      when: When surgery is due.

    Returns:
      The method. Its state is that of the meter; its ``init`` raises ValueError for a network that
      the wiring does not describe or that cannot be rewritten in this way.

    Raises:
      ValueError: The meter measures other groups than those of the wiring.

    Example:
      >>> from knife_jax import plasticity as p
      >>> wiring = (p.NeuronGroup("hidden", 64, p.torch_init().columns, outgoing=("out",)),)
      >>> meter, select = p.relative_activation(wiring, 20), p.below(0.1, cap=0.3)
      >>> method = p.surgery(wiring, meter, select, p.recycle(wiring), p.every_updates(100))
      >>> method.claims.preserves
      'nothing'
    """
    measured = jax.eval_shape(lambda: meter.mature(meter.init()))
    if {*measured} != {group.name for group in some(wiring)}:
        raise refuse("meter", sorted(measured), "of the groups that the wiring names")

    def init(online):
        check(wiring, online.get("params", {}))
        rewrite.check(online)
        return meter.init()

    def operate(patient, state, key):
        select_key = jax.random.fold_in(key, SELECT)  # costs nothing if nothing is drawn
        operable, mature = rewrite.operable(patient), meter.mature(state)
        allowed = {name: operable[name] & mature[name] for name in operable}
        chosen = select(meter.scores(state), allowed, select_key)
        patient = rewrite.apply(patient, chosen, key)
        return patient, meter.forget(state, chosen), operated(chosen)

    return PlasticityTransform(
        init, lambda state, stats, clock: meter.update(state, stats), operate, when
    )


@checked
def reset_per_task(method: PlasticityTransform, meter: Meter, after: Size) -> PlasticityTransform:
    """Reset the meter of a method at each task.

    Args:
      method: A method whose state is that of ``meter``.
      meter: The meter to reset.
      after: Updates of a new task that are not measured; until then the old scores remain.

    Returns:
      The method with another ``measure``.
    """

    def measure(state, stats, clock):
        step = clock.updates - clock.task_since
        new, wait = (clock.task > 0) & (step == after + 1), (clock.task > 0) & (step <= after)
        begun = jax.tree.map(lambda fresh, old: jnp.where(new, fresh, old), meter.init(), state)
        measured = method.measure(begun, stats, clock)
        return jax.tree.map(lambda old, now: jnp.where(wait, old, now), state, measured)

    return replace(method, measure=measure)


@checked
def with_monitor(method: PlasticityTransform, meter: Meter) -> PlasticityTransform:
    """Put a meter beside a method, for the log alone.

    Args:
      method: Any method.
      meter: What the log shows, for instance ``relative_update_activity`` of all hidden groups.

    Returns:
      The method, whose ``extras.scores`` are those of the meter. The meter does not forget the
      neurons that were operated on.
    """

    def operate(patient, state, key):
        own, watch = state
        patient, own, report = method.operate(patient, own, key)
        return patient, (own, watch), report

    return replace(
        method,
        init=lambda online: (method.init(online), meter.init()),
        measure=lambda state, stats, clock: (
            method.measure(state[0], stats, clock),
            meter.update(state[1], stats),
        ),
        operate=operate,
        extras=method.extras._replace(scores=lambda state: meter.scores(state[1])),
    )
