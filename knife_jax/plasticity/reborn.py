"""ReBorn: over-active neurons share their weights with dormant ones."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.checks import checked, refuse
from knife_jax.clock import Trigger
from knife_jax.config.recycling import Form, ReBornConfig
from knife_jax.config.schema import Count, Positive
from knife_jax.nets.wiring import NeuronGroup, Wiring, at, check, layer, put, relu_groups, some
from knife_jax.plasticity.base import Claims, PlasticityTransform
from knife_jax.plasticity.combine import operated
from knife_jax.plasticity.edits import edited, fresh_biases, fresh_kernels, seed_neurons
from knife_jax.plasticity.meters import relative_activation
from knife_jax.plasticity.rewrite import require_readers
from knife_jax.plasticity.select import ranks
from knife_jax.types import PyTree

MAX_RECIPIENTS = 5
"""recipients of one donor"""


class Family(NamedTuple):
    """Who takes over whose weights in one layer, and in which proportions.

    With a donor x and its recipients, β_i scales what comes in and α_i / β_i what goes out; the
    α_i of a family sum to 1, so that Σ α_i/β_i φ(β_i z_x) = φ(z_x) for ReLU.
    """

    source: Int[Array, "W"]
    """the donor of recipients, and themselves for all others"""
    touched: Bool[Array, "W"]
    fresh: Bool[Array, "W"]
    """dormant neurons that no donor took"""
    alpha: Float[Array, "W X"]
    """X = 1, or one for each output"""
    beta: Float[Array, "W"]


def pair(
    dormant: Bool[Array, "W"], donor: Bool[Array, "W"], key: PRNGKeyArray, *, code: bool
) -> Int[Array, "W"]:
    """The donor of each dormant neuron, -1 where it has none and for all other neurons.

    In random order each donor takes M ~ U{2..5} of the dormant neurons that are left. In the
    released code each dormant neuron, in random order, goes to one of the donors that have fewer
    than 5, all being equally likely.
    """
    return (_one_by_one if code else _by_donor)(dormant, donor, key)


def _by_donor(dormant, donor, key):
    turn_key, queue_key, count_key = jax.random.split(key, 3)
    width = dormant.size
    wanted = jax.random.randint(count_key, (width, 1), 2, MAX_RECIPIENTS + 1)
    places = donor[:, None] & (jnp.arange(MAX_RECIPIENTS) < wanted)
    turn = jax.random.uniform(turn_key, (width, 1))
    by_turn = jnp.argsort(jnp.where(places, turn, jnp.inf).reshape(-1)) // MAX_RECIPIENTS
    queue = ranks(jnp.where(dormant, jax.random.uniform(queue_key, (width,)), jnp.inf))
    served = dormant & (queue < jnp.sum(places))
    return jnp.where(served, by_turn[queue], -1)


def _one_by_one(dormant, donor, key):
    queue_key, choice_key = jax.random.split(key)
    width = dormant.size

    def serve(taken, neuron):
        i, key = neuron
        drawn = jnp.where(donor & (taken < MAX_RECIPIENTS), jax.random.uniform(key, (width,)), -1.0)
        chosen = jnp.argmax(drawn)
        served = dormant[i] & (drawn[chosen] >= 0)
        return taken.at[chosen].add(served), jnp.where(served, chosen, -1)

    queue = jax.random.permutation(queue_key, width)
    neurons = queue, jax.random.split(choice_key, width)
    _, given = jax.lax.scan(serve, jnp.zeros(width, jnp.int32), neurons)
    return jnp.zeros_like(given).at[queue].set(given)


@checked
def reborn(
    wiring: Wiring,
    *,
    when: Trigger,
    alpha: Positive = ReBornConfig.alpha,
    beta: Positive = ReBornConfig.beta,
    window: Count = ReBornConfig.window,
    form: Form = ReBornConfig.form,
) -> PlasticityTransform:
    """ReBorn (Qin et al. 2024): each over-active neuron, at least ``beta`` times the layer's mean
    activation, hands its weights to 2 to 5 dormant ones, at most ``alpha`` times the mean; dormant
    neurons without a donor are recycled, with the network's own initialiser. What the donor puts
    out is preserved, the recipients' small output is lost.

    ``form="code"`` follows the released code instead: only hidden layers that a head reads (of
    QMIX's hypernetworks those of the last mixing layer, not of the first), donors strictly above
    ``beta``, up to 5 recipients, incoming scales of 0.3 to 0.8 (of 1 for the donor), proportions
    for every output separately, biases of recycled neurons drawn like the network's own, and the
    optimiser left as it is. Both forms operate on the target network with the same draws.
    """
    if alpha >= beta:
        raise refuse("reborn: alpha", alpha, f"below beta={beta}")
    code = form == "code"
    groups = require_readers(some(relu_groups(wiring)))
    if code and not (groups := _before_heads(wiring)):
        raise refuse("reborn: form", form, "paper: no hidden layer is read by heads alone")
    meter = relative_activation(groups, window)

    def init(online):
        check(groups, online.get("params", {}))
        return meter.init()

    def family(group: NeuronGroup, score, mature, key: PRNGKeyArray, outputs: int) -> Family:
        pair_key, alpha_key, beta_key = jax.random.split(key, 3)
        dormant = mature & (score <= alpha)
        donor = mature & (score > beta if code else score >= beta)
        given = pair(dormant, donor, pair_key, code=code)
        own = jnp.arange(group.width)
        source = jnp.where(given >= 0, given, own)
        parent = jnp.zeros(group.width, bool).at[source].max(given >= 0)
        low, high = (0.3, 0.8) if code else (0.5, 1.5)
        scale = jax.random.uniform(beta_key, (group.width,), minval=low, maxval=high)
        scale = jnp.where(parent & code, 1.0, scale)
        weight = jnp.exp(jax.random.normal(alpha_key, (group.width, outputs if code else 1)))
        touched = parent | (given >= 0)
        total = jnp.zeros_like(weight).at[source].add(jnp.where(touched[:, None], weight, 0.0))
        share = jnp.where(touched[:, None], weight / total[source], 1.0)
        fresh = dormant & (given < 0)
        return Family(source, touched | fresh, fresh, share, jnp.where(touched, scale, 1.0))

    def operate(patient, state, key):
        params, scores, mature = patient.online["params"], meter.scores(state), meter.mature(state)
        draw_key, *keys = jax.random.split(key, len(groups) + 1)
        kernels = fresh_kernels(groups, params, draw_key)
        biases = dict.fromkeys(kernels, jnp.zeros(()))
        if code:
            biases = fresh_biases(groups, params, jax.random.fold_in(draw_key, 1))
        families = {
            g.name: family(g, scores[g.name], mature[g.name], k, _outputs(params, g))
            for g, k in zip(groups, keys, strict=True)
        }

        def edit(params):
            for g in groups:
                new = {"kernel": kernels[g.name], "bias": biases[g.name]}
                params = hand_over(params, g, families[g.name], new)
            return params

        chosen = {name: f.touched for name, f in families.items()}
        patient = edited(patient, edit)
        if not code:
            patient = patient._replace(opt_state=seed_neurons(groups, patient.opt_state, chosen))
        return patient, meter.forget(state, chosen), operated(chosen)

    return PlasticityTransform(
        init=init,
        measure=lambda state, stats, clock: meter.update(state, stats),
        operate=operate,
        trigger=when,
        claims=Claims(moments="kept" if code else "seeded"),
    )


def _outputs(params: PyTree, group: NeuronGroup) -> int:
    return sum(at(params, reader)["kernel"].shape[-1] for reader in group.readers)


def _before_heads(wiring: Wiring) -> Wiring:
    """The hidden groups that are read by nothing but heads, as far as the wiring says."""
    others = {group.name for group in wiring if group.kind != "head"}
    return tuple(group for group in relu_groups(wiring) if not others & {*group.outgoing})


def hand_over(params: PyTree, group: NeuronGroup, family: Family, drawn: PyTree) -> PyTree:
    """The parameters after the transfer in one layer; ``drawn`` has the fresh neurons' weights."""
    old, (source, _, fresh, alpha, beta) = layer(params, group), family
    incoming = {
        "kernel": jnp.where(fresh, drawn["kernel"], beta * old["kernel"][:, source]),
        "bias": jnp.where(fresh, drawn["bias"], beta * old["bias"][source]),
    }
    params, first = put(params, group.path, incoming), 0
    for reader in group.readers:
        reading = at(params, reader)
        rows = reading["kernel"][source]
        share = alpha if alpha.shape[1] == 1 else alpha[:, first : first + rows.shape[1]]
        rows = jnp.where(fresh[:, None], 0.0, share / beta[:, None] * rows)
        params, first = put(params, reader, {**reading, "kernel": rows}), first + rows.shape[1]
    return params
