"""Neuron statistics of one gradient step, and the percentages that are logged of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from knife_jax.checks import checked, refuse
from knife_jax.config.schema import Positive
from knife_jax.nets.wiring import NeuronGroup, Wiring, at, layer
from knife_jax.plasticity.base import NeuronStats, PerNeuron, Stat
from knife_jax.types import Flat, PyTree

STAGNANT = 0.25
"""fraction of the layer's mean update activity below which a neuron is stagnant"""
DORMANT = 0.1
"""fraction of the layer's mean activation up to which a neuron is dormant (ReBorn's α)"""


@checked
def neuron_stats(
    wiring: Wiring,
    params: PyTree,
    grads: PyTree,
    activation: PerNeuron,
    sensitivity: PerNeuron | None = None,
    needs: tuple[Stat, ...] = (),
) -> NeuronStats:
    """Take the statistics of every neuron after one gradient step.

    Args:
      wiring: The groups to measure.
      params: Parameters before the step; ``kernel [I, W]`` of each group gives ‖w_i‖.
      grads: The loss gradient, a tree like ``params``, before clipping; it gives ‖g_i‖.
      activation: Mean |h_i| over the rows of the batch, ``[W]`` by group name.
      sensitivity: Mean |∂L/∂z_i| over those rows, ``[W]`` by group name; for methods that need it.
      needs: What the method needs beyond activation and norms: ``method.extras.needs``.

    Returns:
      The statistics, for ``method.measure`` or ``step``.

    Raises:
      ValueError: A group has not one number per neuron.

    Example:
      >>> import jax.numpy as jnp
      >>> from knife_jax import plasticity as p
      >>> wiring = (p.NeuronGroup("hidden", 2, p.torch_init().columns),)
      >>> params = {"hidden": {"kernel": jnp.array([[3.0, 0.0], [4.0, 2.0]]), "bias": jnp.ones(2)}}
      >>> p.neuron_stats(wiring, params, params, {"hidden": jnp.ones(2)}).weight["hidden"].tolist()
      [5.0, 2.0]
    """
    for said, given in (("activation", activation), ("sensitivity", sensitivity or {})):
        for group in wiring:
            if group.name in given and jnp.shape(given[group.name]) != (group.width,):
                shape = jnp.shape(given[group.name])
                raise refuse(f"{said} of {group.name!r}", shape, f"of shape ({group.width},)")

    def norms(tree: PyTree) -> PerNeuron:
        return {g.name: jnp.linalg.norm(layer(tree, g)["kernel"], axis=0) for g in wiring}

    def outgoing(group: NeuronGroup) -> Float[Array, "W"]:
        rows = [jnp.abs(at(params, reader)["kernel"]) for reader in group.readers]
        return jnp.mean(jnp.concatenate(rows, axis=-1), axis=-1)

    return NeuronStats(
        activation=activation,
        gradient=norms(grads),
        weight=norms(params),
        outgoing={g.name: outgoing(g) for g in wiring} if "outgoing" in needs else {},
        sensitivity=sensitivity or {},
    )


def mean_activation(wiring: Wiring, sown: PyTree, valid: Bool[Array, "T B"]) -> PerNeuron:
    """Return the mean |h_i| of each neuron over the steps that have a transition.

    Args:
      wiring: the groups of neurons.
      sown: what ``GraftedDense`` layers sow, ``activation [T', B', ..., W]`` at each group's path.
      valid: the steps that count, of the first T steps and the first B windows.

    Returns:
      One number per neuron, free of gradients; 0 if no step counts.
    """

    def mean(group: NeuronGroup) -> Float[Array, "W"]:
        (h,) = layer(sown, group)["activation"]
        h = h[: valid.shape[0], : valid.shape[1]]
        weight = valid.reshape(*valid.shape, *(1,) * (h.ndim - 2))
        total = jnp.sum(jnp.abs(h) * weight, axis=tuple(range(h.ndim - 1)))
        return total / jnp.maximum(jnp.sum(weight) * (h[0, 0].size // group.width), 1)

    return {group.name: jax.lax.stop_gradient(mean(group)) for group in wiring}


def mean_sensitivity(wiring: Wiring, slopes: PyTree) -> PerNeuron:
    """Return the mean |∂L/∂z_i| of each neuron over all steps, z_i being its pre-activation.

    Args:
      wiring: the groups of neurons.
      slopes: the gradient of a loss with respect to the flax collection ``perturbations``.
    """

    def mean(group: NeuronGroup) -> Float[Array, "W"]:
        z = layer(slopes, group)["pre_activation"]
        return jnp.mean(jnp.abs(z), axis=tuple(range(z.ndim - 1)))

    return {group.name: mean(group) for group in wiring}


@checked
def pct_below(scores: PerNeuron, threshold: Positive) -> Float[Array, ""]:
    """Return the percentage of all neurons whose score is below the threshold."""
    pooled = jnp.concatenate(jax.tree.leaves(dict(scores)))
    return 100.0 * jnp.mean(pooled < threshold)


def dormant_pct(activation: PerNeuron) -> Float[Array, ""]:
    """Return the percentage of neurons with a mean |h_i| of at most 0.1 of their layer's mean.

    Sokar et al. (2023), eq. 1, over all groups. A layer that is silent as a whole is dormant.
    """
    dormant = Flat.of(activation).numbers <= DORMANT * layer_means(activation)
    return 100.0 * jnp.mean(dormant)


def layer_means(values: PerNeuron) -> Float[Array, "P"]:
    """Return for every neuron the mean of its layer, in the order of ``Flat``."""
    layers = jax.tree.leaves(dict(values))
    widths = jnp.array([leaf.size for leaf in layers])
    most = max(leaf.size for leaf in layers)
    padded = jnp.stack([jnp.pad(leaf, (0, most - leaf.size)) for leaf in layers])
    means = jnp.sum(padded, axis=1) / widths
    return jnp.repeat(means, widths, total_repeat_length=sum(leaf.size for leaf in layers))
