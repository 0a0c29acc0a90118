"""Edits of a patient: what rewrites and resets are made of. Both networks get the same draws."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from knife_jax.checks import checked, refuse
from knife_jax.config.schema import Fraction
from knife_jax.nets.wiring import Wiring, at, layer, put
from knife_jax.plasticity.base import Chosen, PerNeuron
from knife_jax.plasticity.flat import edit_trees
from knife_jax.plasticity.moments import seed_moments
from knife_jax.types import Patient, PyTree, Variables

Edit = Callable[[PyTree], PyTree]
"""params -> params"""
Kernels = dict[str, Array]
"""name of a group -> [I, W]"""


def of_both(patient: Patient, rewrite: Callable[[Variables], Variables]) -> Patient:
    """Rewrite both networks of a patient; a target of {} stays one.

    Raises:
      ValueError: The target has another structure than the online network.
    """
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
    """Edit the parameters of both networks of a patient."""
    return of_both(patient, lambda variables: {**variables, "params": edit(variables["params"])})


def fresh_kernels(wiring: Wiring, params: PyTree, key: PRNGKeyArray) -> Kernels:
    """Draw a kernel ``[I, W]`` for every group, as its network would draw it anew."""
    keys = jax.random.split(key, len(wiring))
    kernels = [layer(params, group)["kernel"] for group in wiring]
    return {
        g.name: g.fresh(k, w.shape, w.dtype) for g, k, w in zip(wiring, keys, kernels, strict=True)
    }


def renew_incoming(wiring: Wiring, params: PyTree, chosen: Chosen, kernels: Kernels) -> PyTree:
    """Replace incoming weights of the chosen neurons by those of ``kernels``, their bias by 0."""
    for group in wiring:
        old, mask = layer(params, group), chosen[group.name]
        renewed = {
            "kernel": jnp.where(mask, kernels[group.name], old["kernel"]),
            "bias": jnp.where(mask, 0.0, old["bias"]),
        }
        params = put(params, group.path, renewed)
    return params


def scale_outgoing(wiring: Wiring, params: PyTree, factors: PerNeuron) -> PyTree:
    """Multiply the outgoing weights of every neuron by its factor."""
    for group in wiring:
        for reader in group.readers:
            old = at(params, reader)
            kernel = factors[group.name][:, None] * old["kernel"]
            params = put(params, reader, {**old, "kernel": kernel})
    return params


def seed_neurons(
    wiring: Wiring, opt_state: PyTree, chosen: Chosen, outgoing: bool = True
) -> PyTree:
    """Give fresh moments to all weights of the chosen neurons (see ``seed_moments``).

    Args:
      wiring: The groups of the neurons.
      opt_state: State of an optax optimiser.
      chosen: Neurons that were rewritten.
      outgoing: Whether their outgoing weights were rewritten, too.

    Returns:
      The optimiser's state with fresh moments of incoming weights, biases and, if said, outgoing
      weights.
    """

    def seeded(state: PyTree) -> PyTree:
        for group in wiring:
            mask = chosen[group.name]
            for leaf in ("kernel", "bias"):
                state = seed_moments(state, (*group.path, leaf), mask, -1)
            for reader in group.readers if outgoing else ():
                state = seed_moments(state, (*reader, "kernel"), mask, -2)
        return state

    return edit_trees(opt_state, seeded)


def absorb(wiring: Wiring, patient: Patient, chosen: Chosen, mean: PerNeuron) -> Patient:
    """Add the mean output of the chosen neurons, v_i · mean h_i, to the biases of their readers.

    CBP's correction, to be made before the neurons are recycled (Dohare et al. 2024, methods).

    Args:
      wiring: The groups of the neurons.
      patient: The patient; both networks are edited.
      chosen: Neurons that will be recycled.
      mean: Mean activation of every neuron, ``[W]`` by group.

    Returns:
      The patient with new biases.
    """

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
    """Draw the biases ``[W]`` of every group that has some, as its network would draw them anew."""
    keys = jax.random.split(key, len(wiring))
    drawn = {}
    for group, k in zip(wiring, keys, strict=True):
        old = layer(params, group)
        if "bias" in old:
            draw = group.fresh_bias(old["kernel"].shape[-2])
            drawn[group.name] = draw(k, old["bias"].shape, old["bias"].dtype)
    return drawn


def redraw(wiring: Wiring, params: PyTree, key: PRNGKeyArray) -> PyTree:
    """Draw every layer of the wiring anew, as its network would.

    Args:
      wiring: The layers to draw.
      params: Parameters, of which layers outside the wiring stay.
      key: Draws kernels and biases.

    Returns:
      The parameters with fresh layers.
    """
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
def blend(wiring: Wiring, patient: Patient, goal: PyTree, keep: Fraction) -> Patient:
    """Move every layer of the wiring towards a goal: θ ← keep · θ + (1 - keep) · goal.

    Args:
      wiring: The layers to move.
      patient: The patient; both networks are edited.
      goal: Parameters to move to, a tree like ``params``.
      keep: Fraction of the old weights that is kept; 0 replaces them.

    Returns:
      The patient with new parameters; the optimiser's state is as it was.
    """

    def edit(params):
        for group in wiring:
            old, new = layer(params, group), layer(goal, group)
            if keep:
                new = jax.tree.map(lambda o, n: keep * o + (1.0 - keep) * n, old, new)
            params = put(params, group.path, new)
        return params

    return edited(patient, edit)
