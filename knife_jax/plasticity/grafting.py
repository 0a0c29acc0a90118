"""Methods that graft: KNIFE and plasticity injection."""

from __future__ import annotations

from dataclasses import replace

from knife_jax.checks import checked
from knife_jax.clock import Trigger, with_late_switches
from knife_jax.config.grafting import KnifeConfig, Measure, OutMode, Rewriting, Selection
from knife_jax.config.schema import Count, Positive, PositiveFraction
from knife_jax.nets.wiring import Wiring, relu_groups, some
from knife_jax.plasticity.base import Claims, Extras, PlasticityTransform
from knife_jax.plasticity.combine import reset_per_task, surgery
from knife_jax.plasticity.meters import (
    ordered_by,
    relative_activation,
    relative_gradient,
    relative_update_activity,
    unmeasured,
)
from knife_jax.plasticity.rewrite import graft, recycle
from knife_jax.plasticity.select import all_units, as_many, below, random_like

ORDERS = {
    "dormant": (relative_activation, False),
    "gradient": (relative_gradient, False),
    "active": (relative_activation, True),
}
"""``select`` -> what puts the neurons in order, and whether the highest come first"""


@checked
def knife(
    wiring: Wiring,
    *,
    when: Trigger,
    slots: Count = KnifeConfig.slots,
    threshold: Positive = KnifeConfig.threshold,
    window: Count = KnifeConfig.window,
    cap: PositiveFraction = KnifeConfig.cap,
    maturity: Count | None = KnifeConfig.maturity,
    select: Selection = KnifeConfig.select,
    measure: Measure = KnifeConfig.measure,
    out_mode: OutMode = KnifeConfig.out_mode,
    rewrite: Rewriting = KnifeConfig.rewrite,
) -> PlasticityTransform:
    """Graft stagnant neurons: KNIFE (arXiv 2606.25335) by its abstract, with our own choices.

    A neuron is stagnant if its relative update activity is below ``threshold``. It is kept as a
    frozen knowledge neuron beside a fresh active and a compensation neuron (see ``graft``), so that
    every output stays as it is, bit for bit.

    Args:
      wiring: All layers; hidden ones are operated on and must be ``GraftedDense``.
      when: When surgery is due.
      slots: Surgeries that one neuron can take, equal to ``slots`` of the layers.
      threshold: Fraction of the layer's mean update activity.
      window: Updates over which activity is averaged.
      cap: Largest fraction of a layer in one surgery.
      maturity: Updates for which a neuron is measured before its next surgery; ``window`` if None.
      select: ``"stagnant"``. Else as many others: ``"random"`` ones, the control; those with the
        lowest activation (``"dormant"``), with the smallest gradients not divided by the weights
        (``"gradient"``), or with the highest activation (``"active"``).
      measure: What a task switch does to the average; without switches the three are one.
        ``"post_switch"``: it starts again, and ``when`` sees the switch one window late.
        ``"pre_switch"``: it starts again after the surgery at the first update of a task, which
        goes by the activity in the task before. ``"running"``: it runs through.
      out_mode: ``"shared"``, or ``"fresh"`` for new neurons with outgoing weights of their own, the
        old ones being frozen. This also revives a neuron whose outgoing weights are small; outputs
        are then preserved up to rounding. The layers need ``readers``.
      rewrite: ``"graft"``; or ``"recycle"``, ReDo's rewrite, which changes outputs, of the same
        neurons at the same times. ``slots`` and ``out_mode`` are then of no account.

    Returns:
      The method; its ``init`` raises ValueError for layers without the slots or readers needed.

    Raises:
      ValueError: An argument is out of its limits, or the wiring has no hidden group.

    Example:
      >>> from knife_jax import plasticity as p
      >>> wiring = (p.NeuronGroup("hidden", 64, p.torch_init().columns, outgoing=("out",)),)
      >>> method = p.knife(wiring, when=p.every_updates(1000), slots=3)
      >>> method.claims.preserves
      'outputs'
    """
    groups = some(relu_groups(wiring))
    activity, rule = relative_update_activity(groups, window, maturity), below(threshold, cap)
    meter, scores = activity, activity.scores
    if select == "random":
        rule = random_like(rule)
    elif select in ORDERS:
        order, highest = ORDERS[select]
        meter, rule = ordered_by(activity, order(groups, window)), as_many(rule, highest=highest)
        scores = lambda state: activity.scores(state[1])  # noqa: E731
    if rewrite == "recycle":
        operation, claims = recycle(groups), Claims()
    else:
        operation = graft(groups, slots, wiring if out_mode == "fresh" else ())
        claims = Claims(preserves="outputs")
    if measure == "post_switch":
        when = with_late_switches(when, window)
    method = surgery(groups, meter, rule, operation, when)
    if measure != "running":
        method = reset_per_task(method, meter, after=0 if measure == "post_switch" else 1)
    return replace(method, claims=claims, extras=Extras(scores=scores))


@checked
def plasticity_injection(wiring: Wiring, *, when: Trigger) -> PlasticityTransform:
    """Graft all hidden neurons, once: plasticity injection (Nikishin et al. 2023).

    It is KNIFE's rewrite with all neurons selected: h(x) + h'(x) - h''(x) with h and h'' frozen.
    The paper's head ends in a linear layer but is not linear itself. A linear layer alone would
    gain nothing: the gradient of W' in (W + W' - W'')x is that of W. What is injected is therefore
    the hidden layers, which together with their readers are heads in the paper's sense: the mixer's
    hypernetworks and, for the agents, the encoder. The readers' weights stay shared and trained.

    Args:
      wiring: All layers; hidden ones must be ``GraftedDense`` with one slot.
      when: When to inject, usually ``once(...)``; no neuron is injected a second time.

    Returns:
      The method.
    """
    groups = relu_groups(wiring)
    method = surgery(groups, unmeasured(groups), all_units, graft(groups, 1), when)
    return replace(method, claims=Claims(preserves="outputs"))
