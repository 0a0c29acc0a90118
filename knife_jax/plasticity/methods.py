"""The methods as recipes: meter × select × rewrite × when. ``config`` has their defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import optax

from knife_jax.checks import checked
from knife_jax.clock import Trigger, with_late_switches
from knife_jax.config.grafting import KnifeConfig, Measure, OutMode, Selection, WiderConfig
from knife_jax.config.recycling import PruningConfig, ReDoConfig, ReGraMaConfig, ReverseReDoConfig
from knife_jax.config.resets import L2InitConfig, MarrConfig, ShrinkPerturbConfig
from knife_jax.config.schema import Count, Fraction, Positive, Share
from knife_jax.nets.wiring import Wiring, check, layer, relu_groups, some
from knife_jax.plasticity.base import Claims, Extras, Meter, PlasticityTransform
from knife_jax.plasticity.combine import identity, operated, reset_per_task, surgery
from knife_jax.plasticity.edits import blend, redraw, seed_neurons
from knife_jax.plasticity.meters import (
    relative_activation,
    relative_sensitivity,
    relative_update_activity,
    unmeasured,
)
from knife_jax.plasticity.moments import restart
from knife_jax.plasticity.per_update import cbp, snr
from knife_jax.plasticity.reborn import reborn
from knife_jax.plasticity.regularise import fixed_norms, toward_initial
from knife_jax.plasticity.rewrite import graft, prune, recycle
from knife_jax.plasticity.select import all_units, at_least, at_most, below, random_like


@checked
def none(wiring: Wiring) -> PlasticityTransform:
    """No surgery."""
    del wiring
    return identity()


@checked
def knife(
    wiring: Wiring,
    *,
    when: Trigger,
    slots: Count = KnifeConfig.slots,
    threshold: Positive = KnifeConfig.threshold,
    window: Count = KnifeConfig.window,
    cap: Share = KnifeConfig.cap,
    maturity: Count | None = KnifeConfig.maturity,
    select: Selection = KnifeConfig.select,
    measure: Measure = KnifeConfig.measure,
    out_mode: OutMode = KnifeConfig.out_mode,
) -> PlasticityTransform:
    """KNIFE (arXiv 2606.25335), as described in its abstract, with our documented choices.

    The neurons whose relative update activity is below ``threshold``, at most a share ``cap`` of
    a layer, are grafted, once they have been measured for ``maturity`` gradient steps since their
    last surgery (one window if not given). Preserves the function exactly. ``select="random"``
    operates on as many random neurons instead.

    With ``out_mode="fresh"`` active and compensation neuron have outgoing weights of their own,
    drawn anew, and the old ones are frozen with the knowledge neuron: this also revives a neuron
    that is stagnant because its outgoing weights are small, and preserves the function up to
    rounding. The network must be made for it (``own_outgoing``).

    ``measure`` says what a task switch means, without which the three are one. ``"post_switch"``:
    the average starts again, and ``when`` sees the switch one window late. ``"pre_switch"``: it
    starts again after surgery at the first gradient step, which goes by the task before.
    ``"running"``: it runs through.
    """
    groups = some(relu_groups(wiring))
    meter, stagnant = relative_update_activity(groups, window, maturity), below(threshold, cap)
    rule = random_like(stagnant) if select == "random" else stagnant
    rewrite = graft(groups, slots, wiring if out_mode == "fresh" else ())
    if measure == "post_switch":
        when = with_late_switches(when, window)
    method = surgery(groups, meter, rule, rewrite, when)
    if measure != "running":
        method = reset_per_task(method, meter, after=0 if measure == "post_switch" else 1)
    return replace(method, claims=Claims(preserves="outputs"), extras=Extras(scores=meter.scores))


@checked
def plasticity_injection(wiring: Wiring, *, when: Trigger) -> PlasticityTransform:
    """Plasticity injection (Nikishin et al. 2023): ``when`` is usually ``once(...)``, and no neuron
    is injected a second time.

    It is KNIFE's rewrite with everyone selected: h(x) + h'(x) - h''(x) with h and h'' frozen. The
    paper's head ends in a linear layer but is not linear itself. A linear layer alone would gain
    nothing: the gradient of W' in (W + W' - W'')x is that of W. What is injected is therefore the
    hidden layers, which together with their readers are heads in the paper's sense: the mixer's
    hypernetworks and, for the agents, the encoder. The readers' weights stay shared and trained.
    """
    groups = relu_groups(wiring)
    method = surgery(groups, unmeasured(groups), all_units, graft(groups, 1), when)
    return replace(method, claims=Claims(preserves="outputs"))


def _recycled(wiring: Wiring, meter: Callable[[Wiring, int], Meter], select, window, when):
    groups = relu_groups(wiring)
    return surgery(groups, meter(groups, window), select, recycle(groups), when)


@checked
def redo(
    wiring: Wiring,
    *,
    when: Trigger,
    threshold: Positive = ReDoConfig.threshold,
    window: Count = ReDoConfig.window,
) -> PlasticityTransform:
    """ReDo (Sokar et al. 2023): dormant neurons, at most ``threshold`` of the layer's mean
    activation over ``window`` updates, are recycled."""
    return _recycled(wiring, relative_activation, at_most(threshold), window, when)


@checked
def reverse_redo(
    wiring: Wiring,
    *,
    when: Trigger,
    threshold: Positive = ReverseReDoConfig.threshold,
    window: Count = ReverseReDoConfig.window,
) -> PlasticityTransform:
    """Reverse ReDo (control in ReBorn's paper): over-active neurons are recycled."""
    return _recycled(wiring, relative_activation, at_least(threshold), window, when)


@checked
def regrama(
    wiring: Wiring,
    *,
    when: Trigger,
    threshold: Positive = ReGraMaConfig.threshold,
    window: Count = ReGraMaConfig.window,
) -> PlasticityTransform:
    """ReGraMa (Liu et al. 2025): neurons whose pre-activations get at most ``threshold`` of the
    layer's mean gradient are recycled."""
    method = _recycled(wiring, relative_sensitivity, at_most(threshold), window, when)
    return replace(method, extras=Extras(needs=("sensitivity",)))


@checked
def pruning(
    wiring: Wiring,
    *,
    when: Trigger,
    threshold: Positive = PruningConfig.threshold,
    window: Count = PruningConfig.window,
) -> PlasticityTransform:
    """Pruning (control in ReBorn's paper): dormant neurons are removed for good."""
    groups = relu_groups(wiring)
    meter = relative_activation(groups, window)
    return surgery(groups, meter, at_most(threshold), prune(groups), when)


def _blended(
    wiring: Wiring, share: float, when: Trigger, after, claims: Claims
) -> PlasticityTransform:
    """Every layer blended with fresh weights; ``after(opt_state)`` is the new optimiser state."""

    def init(online):
        check(some(wiring), online.get("params", {}))
        return ()

    def operate(patient, state, key):
        goal = redraw(wiring, patient.online["params"], key)
        patient = blend(wiring, patient, goal, share)
        patient = patient._replace(opt_state=after(patient.opt_state))
        return patient, state, operated({g.name: jnp.ones(g.width, bool) for g in wiring})

    return replace(identity(), init=init, operate=operate, trigger=when, claims=claims)


@checked
def reset_last(wiring: Wiring, *, when: Trigger) -> PlasticityTransform:
    """The last layers are drawn anew (Nikishin et al. 2022; "ReSet" of ReBorn's paper): the
    agents' head and the layers that generate the last mixing layer. The replay is kept."""
    heads = some(tuple(group for group in wiring if group.kind == "head"), "head")
    chosen = {group.name: jnp.ones(group.width, bool) for group in heads}
    return _blended(heads, 0.0, when, lambda s: seed_neurons(heads, s, chosen), Claims())


@checked
def reset_full(wiring: Wiring, *, when: Trigger) -> PlasticityTransform:
    """Networks, target networks and optimiser start again; the replay is kept.

    At task switches it is the oracle of plasticity, a fresh network per task; with a high replay
    ratio and an interval, SR (D'Oro et al. 2023). Raises ValueError where a parameter belongs to
    no group. With orthogonal initialisation the fresh columns have the right lengths but
    independent directions (see ``nets.init``).
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
def shrink_perturb(
    wiring: Wiring, *, when: Trigger, share: Share = ShrinkPerturbConfig.share
) -> PlasticityTransform:
    """Shrink and perturb (Ash & Adams 2020): θ ← share · θ + (1 - share) · ψ with fresh ψ, every
    layer, both networks. The optimiser's state is kept."""
    return _blended(wiring, share, when, lambda opt_state: opt_state, Claims(moments="kept"))


@checked
def marr(
    wiring: Wiring,
    *,
    when: Trigger,
    share: Share = MarrConfig.share,
    amplitude: Fraction = MarrConfig.amplitude,
) -> PlasticityTransform:
    """MARR (Yang et al. 2024): every layer of both networks goes back towards its own initial
    weights, θ ← share · θ + (1 - share) · θ_0, and every sampled window's observations are scaled
    by z ~ U(1 - amplitude, 1 + amplitude). The optimiser's state is kept; the high replay ratio
    that belongs to it is ``algo.updates_per_round``."""

    def init(online):
        check(some(wiring), online.get("params", {}))
        return jax.tree.map(jnp.copy, online["params"])

    def operate(patient, state, key):
        del key
        everybody = {g.name: jnp.ones(g.width, bool) for g in wiring}
        return blend(wiring, patient, state, share), state, operated(everybody)

    def augment(batch, key):
        shape = (1, batch.obs.shape[1], 1, 1)
        z = jax.random.uniform(key, shape, minval=1.0 - amplitude, maxval=1.0 + amplitude)
        return batch.replace(obs=batch.obs * z)

    claims, extras = Claims(moments="kept"), Extras(augment=augment)
    return replace(
        identity(), init=init, operate=operate, trigger=when, claims=claims, extras=extras
    )


def _in_chain(
    optimiser: Callable[[optax.GradientTransformation], optax.GradientTransformation],
) -> PlasticityTransform:
    return replace(identity(), extras=Extras(optimiser=optimiser))


@checked
def l2_init(wiring: Wiring, *, strength: Positive = L2InitConfig.strength) -> PlasticityTransform:
    """L2 Init (Kumar et al. 2023): weights are pulled towards their initial values."""
    del wiring
    return _in_chain(lambda tx: optax.chain(toward_initial(strength), tx))


@checked
def nap(wiring: Wiring) -> PlasticityTransform:
    """Normalise and project (Lyle et al. 2024): kernels keep their initial norm, and the network
    has layer normalisation (``layer_norm`` of its layers)."""
    del wiring
    return _in_chain(lambda tx: optax.chain(tx, fixed_norms()))


@checked
def wider(wiring: Wiring, *, slots: Count = WiderConfig.slots) -> PlasticityTransform:
    """No surgery, on a network with as many weights as one with so many graft slots."""
    del slots
    return none(wiring)


METHODS: dict[str, Callable[..., PlasticityTransform]] = {
    "none": none,
    "knife": knife,
    "plasticity_injection": plasticity_injection,
    "redo": redo,
    "reverse_redo": reverse_redo,
    "pruning": pruning,
    "reborn": reborn,
    "regrama": regrama,
    "reset_last": reset_last,
    "reset_full": reset_full,
    "shrink_perturb": shrink_perturb,
    "marr": marr,
    "cbp": cbp,
    "snr": snr,
    "l2_init": l2_init,
    "nap": nap,
    "layer_norm": none,
    "wider": wider,
}
"""``plasticity.method`` -> factory: (wiring, **fields of its section) -> PlasticityTransform. The
last two differ from ``none`` in the network alone."""
