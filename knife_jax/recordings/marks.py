"""The neurons of a team: which of them are stagnant, dormant or grafted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from knife_jax.diagnostics.collect import Measured, stagnation
from knife_jax.parallel import devices
from knife_jax.plasticity.meters import relative
from knife_jax.plasticity.stats import DORMANT
from knife_jax.training.state import TrainState
from knife_jax.types import PyTree, Variables

_relative = jax.jit(relative)  # operation by operation it would be sixty programs


class Team(NamedTuple):
    """The networks of one seed, and what its plasticity method has measured, on the host."""

    variables: Variables
    update_activity: Mapping[str, Float[np.ndarray, "W"]]
    """of each neuron, relative to the mean of its layer; NaN if it was never measured"""
    tasks: PyTree = None
    """leaves [K, ...]: those of a seed that has its own"""


class Marks(NamedTuple):
    """What is said of the neurons of a layer; None if it is not known of this layer."""

    update_activity: Float[np.ndarray, "W"] | None
    activation: Float[np.ndarray, "W"]
    """mean |h| relative to the mean of the layer"""
    stagnant: list[int]
    dormant: list[int]
    grafts: Int[np.ndarray, "W"] | None
    """slots in use"""


def team_of(state: TrainState, row: int) -> Team:
    """Take a seed, by its row on the axis S; to be called by all processes of a run."""
    kept = devices.fetch((state.patient.online, state.plasticity, state.tasks))
    variables, plasticity, tasks = jax.tree.map(lambda leaf: np.array(leaf[row]), kept)
    return Team(variables, update_activity(stagnation(plasticity)), tasks)


def update_activity(meters: Mapping[str, Measured]) -> dict[str, Float[np.ndarray, "W"]]:
    """Each neuron's update activity, relative to the mean of its layer; NaN in a layer of which no
    gradient was seen yet."""
    if not meters:
        return {}
    means = {name: jnp.asarray(meter.mean) for name, meter in meters.items()}
    found = jax.device_get(_relative(means))
    return {name: np.where(np.any(meters[name].age), x, np.nan) for name, x in found.items()}


def marks_of(
    team: Team, mean_activity: Mapping[str, Float[Any, "W"]], threshold: float
) -> dict[str, Marks]:
    """The marks of each measured layer.

    Stagnant and dormant are what ``stagnant_pct`` and ``dormant_pct`` count: an update activity
    below ``threshold``, and a mean activation of at most ``DORMANT`` of the layer's mean.
    """
    made, activations = {}, _relative({name: jnp.asarray(m) for name, m in mean_activity.items()})
    for name, relative_activation in activations.items():
        score, activation = team.update_activity.get(name), np.asarray(relative_activation)
        grafts: Any = team.variables.get("grafts", {})
        for part in name.split("/"):
            grafts = grafts.get(part, {})
        made[name] = Marks(
            score,
            activation,
            [] if score is None else np.flatnonzero(score < threshold).tolist(),
            [] if score is None else np.flatnonzero(activation <= DORMANT).tolist(),
            grafts.get("used"),
        )
    return made
