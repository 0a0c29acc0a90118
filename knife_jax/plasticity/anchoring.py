"""Methods that hold weights where earlier tasks left them: what continual learning would use.

All add λ Σ_i Ω_i (θ_i - θ*_i)² to the loss, θ* being the weights when the anchor was last set and
Ω how much each of them matters for the tasks until then. ``when`` sets it: at the end of each task,
by an interval of as many steps, or as the next one begins, at its first gradient step. Until then
nothing is held. The optimiser's chain holds θ* and Ω, which a restart of its moments leaves alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from knife_jax.checks import checked, refuse
from knife_jax.clock import Trigger
from knife_jax.config.anchoring import EwcConfig, L2TaskConfig, MasConfig
from knife_jax.config.schema import Fraction, Positive
from knife_jax.nets.wiring import Wiring
from knife_jax.plasticity.base import Claims, Extras, Importance, PlasticityTransform
from knife_jax.plasticity.combine import all_of, identity, operated
from knife_jax.types import PyTree


class Anchored(NamedTuple):
    """Where weights are held, and how much each of them matters."""

    anchor: PyTree
    importance: PyTree


@checked
def toward_anchor(strength: Positive) -> optax.GradientTransformation:
    """Add 2λ Ω (θ - θ*) to the gradient, that of L + λ Σ Ω (θ - θ*)².

    To be the first of the chain, so that clipping and the optimiser see the whole gradient.

    Args:
      strength: λ.

    Returns:
      An optax transformation, whose state is ``Anchored``: at first no weight matters.
    """

    def init(params):
        return Anchored(jax.tree.map(jnp.copy, params), optax.tree.zeros_like(params))

    def update(updates, state, params=None):
        pulled = jax.tree.map(
            lambda g, p, a, w: g + 2.0 * strength * w * (p - a),
            updates, params, state.anchor, state.importance,
        )  # fmt: skip
        return pulled, state

    return optax.GradientTransformation(init, update)


def _anchored(
    wiring: Wiring, when: Trigger, strength: float, decay: float, kind: Importance | None
) -> PlasticityTransform:
    """Make a method that sets the anchor: Ω ← decay · Ω + what is measured, or 1."""

    def init(online):
        return () if kind is None else optax.tree.zeros_like(online["params"])

    def measure(state, stats, clock):
        del clock
        if kind is None:
            return state
        if jax.tree.structure(stats.importance) != jax.tree.structure(state):
            raise refuse("stats.importance", "{}", f"a tree like params: the method needs {kind}")
        return stats.importance

    def operate(patient, state, key):
        del key
        params = patient.online["params"]
        measured = optax.tree.ones_like(params) if kind is None else state
        held = lambda node: isinstance(node, Anchored)  # noqa: E731

        def move(node):
            if not held(node):
                return node
            total = jax.tree.map(lambda old, new: decay * old + new, node.importance, measured)
            return Anchored(params, total)

        opt_state = jax.tree.map(move, patient.opt_state, is_leaf=held)
        return patient._replace(opt_state=opt_state), state, operated(all_of(wiring))

    return replace(
        identity(),
        init=init,
        measure=measure,
        operate=operate,
        trigger=when,
        claims=Claims(preserves="outputs", moments="kept"),
        extras=Extras(
            needs=() if kind is None else (kind,),
            optimiser=lambda tx: optax.chain(toward_anchor(strength), tx),
        ),
    )


@checked
def l2_task(
    wiring: Wiring, *, when: Trigger, strength: Positive = L2TaskConfig.strength
) -> PlasticityTransform:
    """Pull weights towards those at the end of the last task: the control of ``ewc`` and ``mas``,
    in which all weights matter equally (the L2 baseline of Kirkpatrick et al. 2017, fig. 2).

    Args:
      wiring: Any; all parameters are held. It reports all neurons, as the pull on all is new.
      when: When the anchor is set.
      strength: Weight λ of the squared distance in the loss.

    Returns:
      The method: networks and moments stay as they are.
    """
    return _anchored(wiring, when, strength, 0.0, None)


@checked
def ewc(
    wiring: Wiring,
    *,
    when: Trigger,
    strength: Positive = EwcConfig.strength,
    decay: Fraction = EwcConfig.decay,
) -> PlasticityTransform:
    """Elastic weight consolidation (Kirkpatrick et al. 2017, eq. 3), L + λ/2 Σ F (θ - θ*)², F the
    diagonal of the Fisher information of the loss, in its online form: one anchor, the newest, and
    F ← γ F + that of the last task (Schwarz et al. 2018, §3.2).

    Args:
      wiring: Any; all parameters are held. It reports all neurons, as the pull on all is new.
      when: When the anchor is set.
      strength: λ.
      decay: γ, fraction of the earlier F that is kept.

    Returns:
      The method: networks and moments stay as they are. Needs the statistic ``fisher``.
    """
    return _anchored(wiring, when, strength / 2, decay, "fisher")


@checked
def mas(
    wiring: Wiring, *, when: Trigger, strength: Positive = MasConfig.strength
) -> PlasticityTransform:
    """Memory aware synapses (Aljundi et al. 2018, eq. 2-4): L + λ Σ Ω (θ - θ*)², Ω the sum over
    tasks of how sensitive the squared norm of the outputs is to each weight.

    Args:
      wiring: Any; all parameters are held. It reports all neurons, as the pull on all is new.
      when: When the anchor is set.
      strength: λ.

    Returns:
      The method: networks and moments stay as they are. Needs the statistic ``output_slopes``.
    """
    return _anchored(wiring, when, strength, 1.0, "output_slopes")
