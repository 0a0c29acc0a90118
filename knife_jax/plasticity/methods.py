"""The methods, each a recipe over the shared vocabulary: meter × select × rewrite × when."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from knife_jax.nets.wiring import Wiring, check
from knife_jax.plasticity.base import Meter, PlasticityTransform, Report, Rewrite, Select
from knife_jax.plasticity.meters import relative_update_activity
from knife_jax.plasticity.rewrite import graft
from knife_jax.plasticity.select import below, random_like
from knife_jax.schedules import Gate, any_of, at_task_switch, every_env_steps, never


def surgery(
    wiring: Wiring, meter: Meter, select: Select, rewrite: Rewrite, when: Gate
) -> PlasticityTransform:
    """Measure at every step; when it is due, select among the mature and operable, and rewrite."""

    def init(online):
        check(wiring, online["params"])
        return meter.init()

    def operate(patient, state, key):
        select_key, rewrite_key = jax.random.split(key)
        operable, mature = rewrite.operable(patient), meter.mature(state)
        allowed = {name: operable[name] & mature[name] for name in operable}
        chosen = select(meter.scores(state), allowed, select_key)
        patient = rewrite.apply(patient, chosen, rewrite_key)
        operated = sum(jnp.sum(c) for c in chosen.values())
        return patient, meter.forget(state, chosen), Report(units_operated=operated)

    return PlasticityTransform(init, meter.update, meter.scores, operate, when)


def none(wiring: Wiring, *, window: int) -> PlasticityTransform:
    """No surgery: stagnation is measured, nothing is done about it."""
    meter = relative_update_activity(wiring, window)

    def operate(patient, state, key):
        del key
        return patient, state, Report(units_operated=jnp.zeros((), jnp.int32))

    return PlasticityTransform(lambda _: meter.init(), meter.update, meter.scores, operate, never)


def knife(
    wiring: Wiring,
    *,
    slots: int,
    threshold: float,
    window: int,
    cap: float,
    interval: int,
    task_switch: bool,
    random_control: bool = False,
) -> PlasticityTransform:
    """KNIFE (arXiv 2606.25335), as described in its abstract, with our documented choices.

    Every ``interval`` environment steps (0: never) and, if wanted, at every task switch, the
    neurons whose relative update activity is below ``threshold`` are grafted. Preserves the
    function exactly. ``random_control`` operates on as many random neurons instead.
    """
    stagnant = below(threshold, cap)
    gates = [every_env_steps(interval)] * (interval > 0) + [at_task_switch] * task_switch
    return surgery(
        wiring,
        meter=relative_update_activity(wiring, window),
        select=random_like(stagnant) if random_control else stagnant,
        rewrite=graft(wiring, slots),
        when=any_of(*gates),
    )
