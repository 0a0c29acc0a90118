"""Starts of battles: JaxMARL's fixed starts and its SMACv2-style generators, batched."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from knife_jax.envs.smax.physics import push
from knife_jax.envs.smax.rules import Rules
from knife_jax.envs.smax.state import Battle, per_unit

SPREAD = 2.0
"""units start within this distance of their place, along each axis"""


class Start(NamedTuple):
    """The part of a new battle that is drawn: places and unit types."""

    x: Float[Array, "U E"]
    y: Float[Array, "U E"]
    unit_type: Int[Array, "U E"]


class Mix(NamedTuple):
    """The distribution of starts in one task, in NumPy or JAX; may be traced."""

    type_weights: Float[Any, "K"]
    """how likely each unit type is"""
    surround: Float[Array, ""] | float = 0.5
    """how likely one team surrounds the other, rather than that they mirror each other"""
    n_enemies: Int[Any, ""] | int | None = None
    """the first so many of the enemies are there, the others dead from the start; None = all"""


def enemies_there(rules: Rules, mix: Mix | None) -> Int[Any, ""] | int:
    """How many enemies a battle begins with."""
    return rules.n_enemies if mix is None or mix.n_enemies is None else mix.n_enemies


def units_there(rules: Rules, mix: Mix | None) -> Bool[Any, "U 1"]:
    """The units that a battle begins with."""
    return np.arange(rules.n_units)[:, None] < rules.n_allies + enemies_there(rules, mix)


def n_draws(rules: Rules) -> int:
    """How many uniform numbers one start takes."""
    n = rules.n_units
    n_types = rules.n_allies + (rules.type_weights is not None) * rules.n_extra
    return 2 * n + (n + 6) * rules.random_positions + n_types * rules.random_types


def draw_start(rules: Rules, uniform: Float[Array, "R E"], mix: Mix | None = None) -> Start:
    """Turn R = ``n_draws(rules)`` uniform numbers in [0, 1) per environment into a start.

    Rows: the x of every unit within its region, then the y; with random positions the two coins
    (surround or reflect; who is inside), the distances of four groups from the corners, and the
    group of every unit; with random types the type of every ally, and of every enemy beyond their
    number if the rules have weights. ``mix`` replaces the rules' probabilities.
    """
    weights = rules.type_weights if mix is None else mix.type_weights
    n = rules.n_units
    across, up, rest = uniform[:n], uniform[n : 2 * n], uniform[2 * n :]
    ally = np.arange(n)[:, None] < rules.n_allies
    near_x, near_y = SPREAD * (2 * across - 1), SPREAD * (2 * up - 1)
    if rules.random_positions:
        coins, depth, group, rest = rest[:2], rest[2:6], rest[6 : 6 + n], rest[6 + n :]
        around_x, around_y = surround(rules, coins[1], depth, group)
        mirror_x, mirror_y = reflect(rules, across, up)
        surrounds = coins[0] < (0.5 if mix is None else mix.surround)
        x = jnp.where(surrounds, around_x + near_x, mirror_x)
        y = jnp.where(surrounds, around_y + near_y, mirror_y)
    else:
        x = jnp.asarray(np.where(ally, rules.width / 4, rules.width / 4 * 3)) + near_x
        y = rules.height / 2 + near_y
    unit_type = jnp.broadcast_to(jnp.asarray(rules.unit_types)[:, None], x.shape)
    if rules.random_types:
        drawn = (rest * rules.n_types).astype(jnp.int32)
        if weights is not None:
            edges = jnp.cumsum(jnp.asarray(weights))[:, None, None]
            drawn = jnp.sum(rest * edges[-1] >= edges[:-1], axis=0, dtype=jnp.int32)
        unit_type = mirror_types(rules, drawn)
    radius = per_unit(rules, "radius", unit_type)
    return Start(*push(x, y, units_there(rules, mix) & jnp.ones(x.shape, bool), radius), unit_type)


def surround(rules: Rules, coin: Array, depth: Array, group: Array) -> tuple[Array, Array]:
    """One team in the centre, each unit of the other in one of four groups on the diagonals."""
    ally = np.arange(rules.n_units)[:, None] < rules.n_allies
    inside = ally == (coin >= 0.5)
    centre_x, centre_y = rules.width / 2, rules.height / 2
    corner = (group * 4).astype(jnp.int32)
    along = jnp.select([corner == k for k in range(4)], [depth[k] for k in range(4)])
    edge_x = jnp.where(corner >= 2, rules.width, 0.0)
    edge_y = jnp.where(corner % 2 == 1, rules.height, 0.0)
    x = jnp.where(inside, centre_x, along * centre_x + (1 - along) * edge_x)
    y = jnp.where(inside, centre_y, along * centre_y + (1 - along) * edge_y)
    return x, y


def reflect(rules: Rules, across: Array, up: Array) -> tuple[Array, Array]:
    """Allies anywhere in the left half, enemies at their mirror images, any rest on the right."""
    n, pairs = rules.n_allies, min(rules.n_allies, rules.n_enemies)
    half = rules.width / 2
    left = across[:n] * half
    x = jnp.concatenate([left, rules.width - left[:pairs], half + across[n + pairs :] * half])
    y = jnp.concatenate([up[:n], up[:pairs], up[n + pairs :]]) * rules.height
    return x, y


def mirror_types(rules: Rules, drawn: Int[Array, "D E"]) -> Int[Array, "U E"]:
    """Enemies copy the allies' types; those beyond them are drawn, too, or marines (type 0)."""
    ally, extra = drawn[: rules.n_allies], drawn[rules.n_allies :]
    marines = jnp.zeros((rules.n_extra - len(extra), *ally.shape[1:]), jnp.int32)
    return jnp.concatenate([ally, ally[: rules.n_enemies], extra, marines])


def open_battle(rules: Rules, start: Start, mix: Mix | None = None) -> Battle:
    """The battle at its start: full health, weapons ready, no unit has acted."""
    shape = start.x.shape
    n = rules.n_allies
    health = jnp.broadcast_to(per_unit(rules, "health", start.unit_type), shape)
    health = jnp.where(units_there(rules, mix), health, 0.0)
    return Battle(
        x=start.x,
        y=start.y,
        health=health,
        cooldown=jnp.zeros(shape),
        unit_type=start.unit_type,
        action=jnp.full(shape, rules.n_moves, jnp.int32),
        goal_x=rules.width - start.x[n:],
        goal_y=rules.height - start.y[n:],
        aim=jnp.full((rules.n_enemies, *shape[1:]), -1, jnp.int32),
        steps=jnp.zeros(shape[1:], jnp.int32),
    )
