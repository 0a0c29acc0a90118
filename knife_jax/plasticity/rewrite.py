"""Rewrites of the chosen neurons: recycle, prune, graft."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from knife_jax.checks import checked, refuse
from knife_jax.config.schema import Count
from knife_jax.nets.target_network import equalised
from knife_jax.nets.wiring import NeuronGroup, Wiring, at, check_slots, layer, put
from knife_jax.plasticity.base import Chosen, Rewrite
from knife_jax.plasticity.edits import (
    Kernels,
    edited,
    fresh_kernels,
    of_both,
    renew_incoming,
    scale_outgoing,
    seed_neurons,
)
from knife_jax.types import Patient, Variables


def require_readers(wiring: Wiring) -> Wiring:
    """Return the wiring. Raises ValueError if it names no readers of the neurons of a group."""
    for group in wiring:
        if not group.outgoing:
            allowed = "the layers that read its neurons: their outgoing weights are rewritten, too"
            raise refuse(f"outgoing of {group.name!r}", group.outgoing, allowed)
    return wiring


def replaced(wiring: Wiring, patient: Patient, chosen: Chosen, kernels: Kernels) -> Patient:
    """Give the chosen neurons incoming weights from ``kernels``, bias 0 and outgoing weights 0."""
    kept = {name: jnp.where(mask, 0.0, 1.0) for name, mask in chosen.items()}

    def edit(params):
        params = renew_incoming(wiring, params, chosen, kernels)
        return scale_outgoing(wiring, params, kept)

    patient = edited(patient, edit)
    return patient._replace(opt_state=seed_neurons(wiring, patient.opt_state, chosen))


@checked
def recycle(wiring: Wiring) -> Rewrite:
    """Give neurons fresh incoming weights, bias 0, outgoing weights 0 (Sokar et al. 2023, alg. 1).

    ReDo's rewrite. The function changes by what the old neurons put out.

    Args:
      wiring: The groups whose neurons may be chosen, with their readers.

    Returns:
      The rewrite; it can be applied to every neuron any number of times.

    Raises:
      ValueError: A group has no ``outgoing`` layers.
    """
    require_readers(wiring)

    def operable(patient: Patient) -> Chosen:
        return {g.name: jnp.ones(g.width, bool) for g in wiring}

    def apply(patient: Patient, chosen: Chosen, key: PRNGKeyArray) -> Patient:
        kernels = fresh_kernels(wiring, patient.online["params"], key)
        return replaced(wiring, patient, chosen, kernels)

    return Rewrite(operable, apply)


@checked
def prune(wiring: Wiring) -> Rewrite:
    """Set incoming weights, bias and outgoing weights to 0: no gradient reaches the neuron again.

    Args:
      wiring: The groups whose neurons may be chosen, with their readers.

    Returns:
      The rewrite; neurons with incoming weights of 0 are no longer operable.

    Raises:
      ValueError: A group has no ``outgoing`` layers.
    """
    require_readers(wiring)

    def alive(patient: Patient) -> Chosen:
        kernels = {g.name: layer(patient.online["params"], g)["kernel"] for g in wiring}
        return {name: jnp.any(kernel != 0, axis=0) for name, kernel in kernels.items()}

    def apply(patient: Patient, chosen: Chosen, key: PRNGKeyArray) -> Patient:
        del key
        params = patient.online["params"]
        nothing = {g.name: jnp.zeros_like(layer(params, g)["kernel"]) for g in wiring}
        return replaced(wiring, patient, chosen, nothing)

    return Rewrite(alive, apply)


@checked
def graft(wiring: Wiring, slots: Count, readers: Wiring = ()) -> Rewrite:
    """Keep the neuron, add a fresh one, and compensate what the fresh one adds: KNIFE's rewrite.

    The active neuron moves into the next free slot as the frozen *knowledge* neuron; one fresh
    draw becomes both the new *active* neuron and the frozen *compensation* neuron. The output is
    unchanged, bit for bit (see GraftedDense), so Q_i, Q_tot and every argmax are too. The target
    network is operated on with the same draw and keeps its own, lagging, knowledge neuron. First
    moments of the new neurons are cleared and second moments set to their mean over the
    layer's untouched neurons, so that the first steps are of the usual size.

    If the layers that read the neurons are given as ``readers``, outgoing weights move and are
    drawn anew like incoming ones, and the output is unchanged up to rounding.

    Args:
      wiring: The groups whose neurons may be chosen; their layers are ``GraftedDense``.
      slots: Surgeries that one neuron can take, equal to that of the layers.
      readers: Groups of the layers that read the neurons, for outgoing weights of their own.

    Returns:
      The rewrite; neurons are operable as long as they have a free slot.

    Raises:
      ValueError: A reader has grafts itself (its kept neurons could not see what is added to it),
        or a layer that reads the neurons is not among the readers.
    """
    grafted_readers = {g.name for g in wiring if any(g.name in other.outgoing for other in wiring)}
    if readers and grafted_readers:
        raise ValueError(
            f"own outgoing weights into {', '.join(grafted_readers)}, which is grafted"
        )
    drawn = tuple(r for r in readers if any(r.name in g.outgoing for g in wiring))
    if readers:
        missing = {name for g in require_readers(wiring) for name in g.outgoing}
        if missing := missing - {r.name for r in drawn}:
            raise refuse("readers", sorted(r.name for r in readers), f"with {sorted(missing)}")

    def check(online: Variables) -> None:
        check_slots(wiring, online, slots, own_outgoing=bool(readers))

    def operable(patient: Patient) -> Chosen:
        return {g.name: layer(patient.online["grafts"], g)["used"] < slots for g in wiring}

    def apply(patient: Patient, chosen: Chosen, key: PRNGKeyArray) -> Patient:
        params, out_key = patient.online["params"], jax.random.fold_in(key, 1)
        kernels = fresh_kernels(wiring, params, key) | fresh_kernels(drawn, params, out_key)

        def grafted(variables: Variables) -> Variables:
            for group in wiring:
                variables = _graft_layer(variables, group, chosen[group.name], kernels)
            return variables

        seeded = seed_neurons(wiring, patient.opt_state, chosen, outgoing=bool(drawn))
        patient = of_both(patient, grafted)._replace(opt_state=seeded)
        return patient._replace(target=patient.target and equalised(patient.online, patient.target))

    return Rewrite(operable, apply, check)


def _graft_layer(
    variables: Variables, group: NeuronGroup, mask: Array, kernels: Kernels
) -> Variables:
    params, frozen = variables["params"], layer(variables["grafts"], group)
    active, fresh = layer(params, group), kernels[group.name]
    slots = frozen["kept_bias"].shape[0]
    opening = mask & (frozen["used"] == jnp.arange(slots)[:, None])  # [K, W]

    def moved(name: str, kept: Array, compensation: Array | float) -> dict[str, Array]:
        """Into the slots that open, along the axes [K, W] or [K, I, W]."""
        where = opening if name == "bias" else opening[:, None, :]
        where = opening[:, :, None] if name.startswith("rows") else where
        return {
            f"kept_{name}": jnp.where(where, kept, frozen[f"kept_{name}"]),
            f"comp_{name}": jnp.where(where, compensation, frozen[f"comp_{name}"]),
        }

    grafts = moved("kernel", active["kernel"], fresh) | moved("bias", active["bias"], 0.0)
    grafts["used"] = frozen["used"] + mask
    renewed = {
        "kernel": jnp.where(mask, fresh, active["kernel"]),
        "bias": jnp.where(mask, 0.0, active["bias"]),
    }
    params = put(params, group.path, renewed)
    for j, (name, path) in enumerate(zip(group.outgoing, group.readers, strict=True)):
        if f"kept_rows_{j}" in frozen:
            old, rows = at(params, path), kernels[name]
            grafts |= moved(f"rows_{j}", old["kernel"], rows)
            kernel = jnp.where(mask[:, None], rows, old["kernel"])
            params = put(params, path, {**old, "kernel": kernel})
    grafts = put(variables["grafts"], group.path, grafts)
    return {**variables, "params": params, "grafts": grafts}
