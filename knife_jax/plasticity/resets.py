"""Methods that move whole layers: resets, shrink and perturb, MARR. The replay is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import optax

from knife_jax.checks import checked
from knife_jax.clock import Trigger
from knife_jax.config.resets import MarrConfig, ShrinkPerturbConfig
from knife_jax.config.schema import Fraction, PositiveFraction
from knife_jax.nets.wiring import Wiring, check, layer, some
from knife_jax.plasticity.base import Claims, Extras, PlasticityTransform
from knife_jax.plasticity.combine import all_of, identity, operated
from knife_jax.plasticity.edits import blend, redraw, seed_neurons
from knife_jax.plasticity.moments import restart


def _blended(
    wiring: Wiring,
    keep: float,
    when: Trigger,
    new_opt_state: Callable[[optax.OptState], optax.OptState],
    claims: Claims,
) -> PlasticityTransform:
    """Make a method that blends every layer with fresh weights."""

    def init(online):
        check(some(wiring), online.get("params", {}))
        return ()

    def operate(patient, state, key):
        goal = redraw(wiring, patient.online["params"], key)
        patient = blend(wiring, patient, goal, keep)
        patient = patient._replace(opt_state=new_opt_state(patient.opt_state))
        return patient, state, operated(all_of(wiring))

    return replace(identity(), init=init, operate=operate, trigger=when, claims=claims)


@checked
def reset_last(wiring: Wiring, *, when: Trigger) -> PlasticityTransform:
    """Draw the last layers anew (Nikishin et al. 2022; "ReSet" of ReBorn's paper).

    These are the groups of kind ``head``: for QMIX the agents' head and the layers that generate
    the last mixing layer.

    Args:
      wiring: All layers.
      when: When a reset is due.

    Returns:
      The method; moments of the last layers are fresh.

    Raises:
      ValueError: The wiring has no group of kind ``head``.
    """
    heads = some(tuple(group for group in wiring if group.kind == "head"), "head")
    fresh = lambda opt_state: seed_neurons(heads, opt_state, all_of(heads))  # noqa: E731
    return _blended(heads, 0.0, when, fresh, Claims())


@checked
def reset_full(wiring: Wiring, *, when: Trigger) -> PlasticityTransform:
    """Start networks, target networks and optimiser again.

    At task switches it is the oracle of plasticity, a fresh network per task; with a high replay
    ratio and an interval, SR (D'Oro et al. 2023). With orthogonal initialisation the fresh columns
    have the right lengths but independent directions (see ``nets.initialisers``).

    Args:
      wiring: All layers.
      when: When a reset is due.

    Returns:
      The method; its ``init`` raises ValueError if a parameter belongs to no group.
    """
    method = _blended(wiring, 0.0, when, restart, Claims(moments="restarted"))

    def init(online):
        state = method.init(online)
        drawn = sum(len(layer(online["params"], group)) for group in wiring)
        if drawn != len(jax.tree.leaves(online["params"])):
            raise ValueError("a full reset needs a wiring that names every layer")
        return state

    return replace(method, init=init)


@checked
def restart_optimiser(wiring: Wiring, *, when: Trigger) -> PlasticityTransform:
    """Start the optimiser again, and leave the networks as they are (Asadi et al. 2023).

    The control that tells how much of what other methods do is done by fresh moments alone.

    Args:
      wiring: All layers.
      when: When a restart is due.

    Returns:
      The method. It reports all neurons, as the moments of all are fresh.
    """

    def operate(patient, state, key):
        del key
        patient = patient._replace(opt_state=restart(patient.opt_state))
        return patient, state, operated(all_of(wiring))

    claims = Claims(preserves="outputs", moments="restarted")
    return replace(identity(), operate=operate, trigger=when, claims=claims)


@checked
def shrink_perturb(
    wiring: Wiring, *, when: Trigger, share: PositiveFraction = ShrinkPerturbConfig.share
) -> PlasticityTransform:
    """Shrink and perturb every layer (Ash & Adams 2020): θ ← share · θ + (1 - share) · ψ, ψ fresh.

    Args:
      wiring: The layers, in both networks.
      when: When it is due.
      share: Fraction of the old weights that is kept.

    Returns:
      The method; the optimiser's state is kept.
    """
    return _blended(wiring, share, when, lambda opt_state: opt_state, Claims(moments="kept"))


@checked
def marr(
    wiring: Wiring,
    *,
    when: Trigger,
    share: PositiveFraction = MarrConfig.share,
    amplitude: Fraction = MarrConfig.amplitude,
) -> PlasticityTransform:
    """Pull layers towards their initial weights, and scale observations: MARR (Yang et al. 2024).

    θ ← share · θ + (1 - share) · θ_0 in both networks, and the observations of every sampled
    trajectory are multiplied by z ~ U(1 - amplitude, 1 + amplitude). The high replay ratio that
    belongs to it is ``algo.updates_per_round``.

    Args:
      wiring: The layers.
      when: When the pull is due.
      share: Fraction of the old weights that is kept.
      amplitude: Largest relative change of observations.

    Returns:
      The method; the optimiser's state is kept. Observations are scaled by ``extras.augment``.
    """

    def init(online):
        check(some(wiring), online.get("params", {}))
        return jax.tree.map(jnp.copy, online["params"])

    def operate(patient, state, key):
        del key
        return blend(wiring, patient, state, share), state, operated(all_of(wiring))

    def augment(batch, key):
        shape = (1, batch.obs.shape[1], 1, 1)
        z = jax.random.uniform(key, shape, minval=1.0 - amplitude, maxval=1.0 + amplitude)
        return batch.replace(obs=batch.obs * z)

    claims, extras = Claims(moments="kept"), Extras(augment=augment)
    return replace(
        identity(), init=init, operate=operate, trigger=when, claims=claims, extras=extras
    )
