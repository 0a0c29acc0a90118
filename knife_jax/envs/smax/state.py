"""A batch of battles as a structure of arrays, the environment axis last.

U units (allies first), M enemies, E environments. One row of an array is one unit in every
environment, so that arithmetic runs along the environments.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from knife_jax.envs.smax.rules import Rules


class Battle(struct.PyTreeNode):
    """E battles. A unit is alive while its health is positive."""

    x: Float[Array, "U E"]
    y: Float[Array, "U E"]
    health: Float[Array, "U E"]
    cooldown: Float[Array, "U E"]
    """seconds until the weapon may fire; keeps falling below zero"""
    unit_type: Int[Array, "U E"]
    action: Int[Array, "U E"]
    """each unit's last action in its own numbering; stop in a new battle"""
    goal_x: Float[Array, "M E"]
    """the goal of an enemy that sees no ally: its start turned by 180 degrees about the centre"""
    goal_y: Float[Array, "M E"]
    aim: Int[Array, "M E"]
    """the ally that an enemy shot at last, -1 for none"""
    steps: Int[Array, " E"]

    @property
    def alive(self) -> Bool[Array, "U E"]:
        return self.health > 0


def per_unit(rules: Rules, name: str, unit_type: Int[Array, "U E"]) -> Array:
    """A feature of every unit, [U, E], or [U, 1] if the scenario fixes the types."""
    table = rules.by_type[name]
    if not rules.random_types:
        return jnp.asarray(table[rules.unit_types][:, None])
    value = jnp.full(unit_type.shape, table[0])
    for kind in range(1, rules.n_types):
        value = jnp.where(unit_type == kind, table[kind], value)
    return value


def row(array: Array, index: Any) -> Array:
    """Unit `index` of a [U, ...] array."""
    return jax.lax.dynamic_index_in_dim(array, index, 0, keepdims=False)
