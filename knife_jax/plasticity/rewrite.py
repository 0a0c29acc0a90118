"""How the chosen neurons are rewritten: online and target network alike, with the same draws."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from knife_jax.checks import checked, refuse
from knife_jax.config.schema import Count, Fraction
from knife_jax.nets.wiring import NeuronGroup, Wiring, at, check_slots, layer, put
from knife_jax.plasticity.base import Chosen, PerNeuron, Rewrite
from knife_jax.plasticity.moments import seed_moments
from knife_jax.types import Patient, PyTree, Variables

Edit = Callable[[PyTree], PyTree]
"""params -> params"""
Kernels = dict[str, Array]
"""name of a group -> [I, W]"""


def of_both(patient: Patient, rewrite: Callable[[Variables], Variables]) -> Patient:
    """The patient with both networks rewritten; a target of {} stays one. Raises ValueError for a
    target of another structure."""
    online, target = patient.online, patient.target
    if target:
        own, theirs = _shapes(online), _shapes(target)
        for where in own | theirs:
            if own.get(where) != theirs.get(where):
                allowed = f"{own.get(where)} as online, or the target {{}}"
                raise refuse(f"target{where}", theirs.get(where), allowed)
    return patient._replace(online=rewrite(online), target=target and rewrite(target))


def _shapes(variables: Variables) -> dict[str, tuple[int, ...]]:
    found = {name: variables[name] for name in ("params", "grafts") if name in variables}
    leaves = jax.tree_util.tree_leaves_with_path(found)
    return {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}


def edited(patient: Patient, edit: Edit) -> Patient:
    """The patient with the parameters of both networks edited."""
    return of_both(patient, lambda variables: {**variables, "params": edit(variables["params"])})


def require_readers(wiring: Wiring) -> Wiring:
    """The wiring. Raises ValueError where it does not say what reads the neurons of a group."""
    for group in wiring:
        if not group.outgoing:
            allowed = "the layers that read its neurons: their outgoing weights are rewritten, too"
            raise refuse(f"outgoing of {group.name!r}", group.outgoing, allowed)
    return wiring


def fresh_kernels(wiring: Wiring, params: PyTree, key: PRNGKeyArray) -> Kernels:
    """A kernel for every group as its network would draw it anew."""
    keys = jax.random.split(key, len(wiring))
    kernels = [layer(params, group)["kernel"] for group in wiring]
    return {
        g.name: g.fresh(k, w.shape, w.dtype) for g, k, w in zip(wiring, keys, kernels, strict=True)
    }


def renew_incoming(wiring: Wiring, params: PyTree, chosen: Chosen, kernels: Kernels) -> PyTree:
    """The chosen neurons with incoming weights from ``kernels`` and bias 0."""
    for group in wiring:
        old, mask = layer(params, group), chosen[group.name]
        renewed = {
            "kernel": jnp.where(mask, kernels[group.name], old["kernel"]),
            "bias": jnp.where(mask, 0.0, old["bias"]),
        }
        params = put(params, group.path, renewed)
    return params


def scale_outgoing(wiring: Wiring, params: PyTree, factors: PerNeuron) -> PyTree:
    """Every neuron's outgoing weights times its factor."""
    for group in wiring:
        for reader in group.readers:
            old = at(params, reader)
            kernel = factors[group.name][:, None] * old["kernel"]
            params = put(params, reader, {**old, "kernel": kernel})
    return params


def seed_neurons(
    wiring: Wiring, opt_state: PyTree, chosen: Chosen, outgoing: bool = True
) -> PyTree:
    """Fresh moments (see ``seed_moments``) for all that belongs to the chosen neurons."""
    for group in wiring:
        mask = chosen[group.name]
        for leaf in ("kernel", "bias"):
            opt_state = seed_moments(opt_state, (*group.path, leaf), mask, -1)
        for reader in group.readers if outgoing else ():
            opt_state = seed_moments(opt_state, (*reader, "kernel"), mask, -2)
    return opt_state


def replaced(wiring: Wiring, patient: Patient, chosen: Chosen, kernels: Kernels) -> Patient:
    """The chosen neurons with incoming weights from ``kernels``, bias 0 and outgoing weights 0."""
    kept = {name: jnp.where(mask, 0.0, 1.0) for name, mask in chosen.items()}

    def edit(params):
        params = renew_incoming(wiring, params, chosen, kernels)
        return scale_outgoing(wiring, params, kept)

    patient = edited(patient, edit)
    return patient._replace(opt_state=seed_neurons(wiring, patient.opt_state, chosen))


@checked
def recycle(wiring: Wiring) -> Rewrite:
    """Fresh incoming weights, bias 0, outgoing weights 0: ReDo's rewrite (Sokar et al. 2023,
    alg. 1). The function changes by what the old neurons put out."""
    require_readers(wiring)

    def operable(patient: Patient) -> Chosen:
        return {g.name: jnp.ones(g.width, bool) for g in wiring}

    def apply(patient: Patient, chosen: Chosen, key: PRNGKeyArray) -> Patient:
        kernels = fresh_kernels(wiring, patient.online["params"], key)
        return replaced(wiring, patient, chosen, kernels)

    return Rewrite(operable, apply)


@checked
def prune(wiring: Wiring) -> Rewrite:
    """Incoming weights, bias and outgoing weights 0: no gradient ever reaches the neuron again."""
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


def absorb(wiring: Wiring, patient: Patient, chosen: Chosen, mean: PerNeuron) -> Patient:
    """The next biases plus what the chosen neurons put out on average, v_i · mean h_i: CBP's
    correction, to be made before they are recycled (Dohare et al. 2024, methods)."""

    def edit(params):
        for group in wiring:
            given = jnp.where(chosen[group.name], mean[group.name], 0.0)
            for reader in group.readers:
                old = at(params, reader)
                bias = old["bias"] + given @ old["kernel"]
                params = put(params, reader, {**old, "bias": bias})
        return params

    return edited(patient, edit)


def fresh_biases(wiring: Wiring, params: PyTree, key: PRNGKeyArray) -> dict[str, Array]:
    """The biases of every group that has them, [W], as its network would draw them anew."""
    keys = jax.random.split(key, len(wiring))
    drawn = {}
    for group, k in zip(wiring, keys, strict=True):
        old = layer(params, group)
        if "bias" in old:
            draw = group.fresh_bias(old["kernel"].shape[-2])
            drawn[group.name] = draw(k, old["bias"].shape, old["bias"].dtype)
    return drawn


def redraw(wiring: Wiring, params: PyTree, key: PRNGKeyArray) -> PyTree:
    """The parameters with every layer of the wiring as its network would draw it anew."""
    weight_key, bias_key = jax.random.split(key)
    kernels = fresh_kernels(wiring, params, weight_key)
    biases = fresh_biases(wiring, params, bias_key)
    for group in wiring:
        fresh = {"kernel": kernels[group.name]}
        if group.name in biases:
            fresh["bias"] = biases[group.name]
        params = put(params, group.path, fresh)
    return params


@checked
def blend(wiring: Wiring, patient: Patient, goal: PyTree, share: Fraction) -> Patient:
    """θ ← share · θ + (1 - share) · goal for every layer of the wiring, in both networks."""

    def edit(params):
        for group in wiring:
            old, new = layer(params, group), layer(goal, group)
            if share:
                new = jax.tree.map(lambda o, n: share * o + (1.0 - share) * n, old, new)
            params = put(params, group.path, new)
        return params

    return edited(patient, edit)


@checked
def graft(wiring: Wiring, slots: Count, readers: Wiring = ()) -> Rewrite:
    """KNIFE: keep the neuron, add a fresh one, and compensate what the fresh one adds.

    The active neuron moves into the next free slot as the frozen *knowledge* neuron; one fresh
    draw becomes both the new *active* neuron and the frozen *compensation* neuron. The output is
    unchanged, bit for bit (see GraftedDense), so Q_i, Q_tot and every argmax are too. The target
    network is operated on with the same draw and keeps its own, lagging, knowledge neuron. First
    moments of the new neurons are cleared and second moments set to their mean over the
    layer's untouched neurons, so that the first steps are of the usual size.

    Where the layers that read the neurons are given as ``readers``, outgoing weights move and are
    drawn anew like incoming ones, and the output is unchanged up to rounding. Raises ValueError
    where such a reader has grafts itself: its kept neurons could not see what is added to it.
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
        return of_both(patient, grafted)._replace(opt_state=seeded)

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
