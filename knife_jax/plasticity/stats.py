"""Neuron statistics of one gradient step, and the percentages that are logged of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from knife_jax.checks import checked, refuse
from knife_jax.config.schema import Positive
from knife_jax.nets.wiring import NeuronGroup, Wiring, at, layer
from knife_jax.plasticity.base import NeuronStats, PerNeuron, Stat
from knife_jax.types import PyTree

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


@checked
def pct_below(scores: PerNeuron, threshold: Positive) -> Float[Array, ""]:
    """Return the percentage of all neurons whose score is below the threshold."""
    pooled = jnp.concatenate(jax.tree.leaves(dict(scores)))
    return 100.0 * jnp.mean(pooled < threshold)


def dormant_pct(activation: PerNeuron) -> Float[Array, ""]:
    """Return the percentage of neurons with a mean |h_i| of at most 0.1 of their layer's mean.

    Sokar et al. (2023), eq. 1, over all groups. A layer that is silent as a whole is dormant.
    """
    dormant = [a <= DORMANT * jnp.mean(a) for a in activation.values()]
    return 100.0 * jnp.mean(jnp.concatenate(dormant))
