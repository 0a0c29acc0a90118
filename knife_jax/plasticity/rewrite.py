"""How the chosen neurons are rewritten."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from knife_jax.nets.wiring import NeuronGroup, Wiring, layer, with_layer
from knife_jax.plasticity.base import Chosen, Rewrite
from knife_jax.types import Patient, PyTree, Variables


def graft(wiring: Wiring, slots: int) -> Rewrite:
    """KNIFE: keep the neuron, add a fresh one, and compensate what the fresh one adds.

    The active neuron moves into the next free slot as the frozen *knowledge* neuron; one fresh
    draw becomes both the new *active* neuron and the frozen *compensation* neuron. The output is
    unchanged, bit for bit (see GraftedDense), so Q_i, Q_tot and every argmax are too. The target
    network is operated on with the same draw and keeps its own, lagging, knowledge neuron. First
    moments of the new neurons are cleared and second moments set to their mean over the
    layer's untouched neurons, so that the first steps are of the usual size.
    """

    def operable(patient: Patient) -> Chosen:
        return {g.name: layer(patient.online["grafts"], g)["used"] < slots for g in wiring}

    def apply(patient: Patient, chosen: Chosen, key: PRNGKeyArray) -> Patient:
        keys = jax.random.split(key, len(wiring))
        online, target, opt_state = patient
        for group, group_key in zip(wiring, keys, strict=True):
            leaf = layer(online["params"], group)["kernel"]
            fresh = group.fresh(group_key, leaf.shape, leaf.dtype)
            mask = chosen[group.name]
            online = _graft_layer(online, group, mask, fresh)
            target = _graft_layer(target, group, mask, fresh)
            opt_state = seed_moments(opt_state, group, mask)
        return Patient(online, target, opt_state)

    return Rewrite(operable, apply)


def _graft_layer(
    variables: Variables, group: NeuronGroup, mask: Array, fresh: Float[Array, "I W"]
) -> Variables:
    active, frozen = layer(variables["params"], group), layer(variables["grafts"], group)
    used = frozen["used"]
    slots = frozen["kept_bias"].shape[0]
    opening = mask & (used == jnp.arange(slots)[:, None])  # [K, W]
    column = opening[:, None, :]
    kernel, bias = active["kernel"], active["bias"]
    grafts = {
        "kept_kernel": jnp.where(column, kernel, frozen["kept_kernel"]),
        "kept_bias": jnp.where(opening, bias, frozen["kept_bias"]),
        "comp_kernel": jnp.where(column, fresh, frozen["comp_kernel"]),
        "comp_bias": jnp.where(opening, 0.0, frozen["comp_bias"]),
        "used": used + mask,
    }
    renewed = {"kernel": jnp.where(mask, fresh, kernel), "bias": jnp.where(mask, 0.0, bias)}
    return {
        **variables,
        "params": with_layer(variables["params"], group, renewed),
        "grafts": with_layer(variables["grafts"], group, grafts),
    }


def seed_moments(opt_state: PyTree, group: NeuronGroup, mask: Array) -> PyTree:
    """Give new neurons fresh optimiser moments, whatever the optimiser.

    A second moment (a field that optax calls ``nu``) becomes its mean over the untouched neurons
    of the layer, every other moment 0. Zeroing both, with a step counter that is shared by all
    entries, would make the first steps several times too large.
    """

    def moment(path, leaf):
        names = tuple(k.key for k in path if isinstance(k, jax.tree_util.DictKey))
        if names[:-1] != group.path:
            return leaf
        fields = [k.name for k in path if isinstance(k, jax.tree_util.GetAttrKey)]
        if "nu" not in fields:
            return jnp.where(mask, 0.0, leaf)
        untouched = jnp.where(jnp.all(mask), True, ~mask)
        total = jnp.sum(jnp.where(untouched, leaf, 0.0), axis=-1, keepdims=True)
        return jnp.where(mask, total / jnp.sum(untouched), leaf)

    return jax.tree_util.tree_map_with_path(moment, opt_state)
