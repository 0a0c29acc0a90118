"""One environment step of every battle: eight world steps of moves, shots, walls and pushes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from knife_jax.envs.fold import fold
from knife_jax.envs.smax.rules import Rules
from knife_jax.envs.smax.state import Battle, per_unit, row

FAR = 1e6
"""dead units count as this far away, each at a place of its own"""


def heading(action: Int[Array, "*X"]) -> tuple[Float[Array, "*X"], Float[Array, "*X"]]:
    """The unit vector of a move (north, east, south, west), zero for any other action."""
    dx = (action == 1).astype(jnp.float32) - (action == 3).astype(jnp.float32)
    dy = (action == 0).astype(jnp.float32) - (action == 2).astype(jnp.float32)
    return dx, dy


def targets(rules: Rules, action: Int[Array, "U E"]) -> Int[Array, "U E"]:
    """The unit that each unit's action attacks, -1 for none; enemies count allies backwards."""
    first = rules.n_moves + 1
    n = rules.n_allies
    ally, enemy = action[:n], action[n:]
    target = jnp.concatenate([ally - first + n, n - 1 - (enemy - first)])
    return jnp.where(action >= first, target, -1)


def push(
    x: Float[Array, "U E"], y: Float[Array, "U E"], alive: Array, radius: Array
) -> tuple[Array, Array]:
    """Move living units that overlap apart, all pairs at once."""
    n = x.shape[0]
    unit = jnp.arange(n)[:, None]
    apart = jnp.where(alive, x, FAR * (unit + 1))

    def add(j, total):
        dx = apart - row(apart, j)
        dy = y - row(y, j)
        distance = jnp.sqrt(dx * dx + dy * dy) + (unit == j) + 1e-6
        overlap = jnp.maximum((radius + row(radius, j)) / distance - 1.0, 0.0)
        return total[0] + overlap * dx, total[1] + overlap * dy

    by_x, by_y = fold(add, (jnp.zeros_like(x), jnp.zeros_like(y)), n)
    return jnp.where(alive, x + by_x / 2, x), jnp.where(alive, y + by_y / 2, y)


def fight(rules: Rules, battle: Battle, action: Array, jitter: Array) -> Battle:
    """Play `action` int32[U, E] for one environment step.

    `jitter` float32[1 or substeps, U, E] is what is added to the mean cooldown of a weapon that
    fires, in seconds; one array serves all world steps if no weapon can fire twice.
    """
    n = rules.n_units
    velocity, damage, reach, radius, reload = (
        per_unit(rules, name, battle.unit_type)
        for name in ("velocity", "damage", "reach", "radius", "reload")
    )
    dx, dy = heading(action)
    step_x, step_y = dx * velocity * rules.dt, dy * velocity * rules.dt
    damage = jnp.broadcast_to(damage, battle.x.shape)
    target = targets(rules, action)
    unit = jnp.arange(n)[:, None]

    def world_step(k, carry):
        x, y, health, cooldown = carry
        alive = health > 0
        apart = jnp.where(alive, x, FAR * (unit + 1))

        def look(j, seen):
            chosen = target == j
            return jnp.where(chosen, row(apart, j), seen[0]), jnp.where(chosen, row(y, j), seen[1])

        at_x, at_y = fold(look, (jnp.full_like(x, 2 * FAR * n), y), n)
        away = (apart - at_x) ** 2 + (y - at_y) ** 2
        fires = (away < reach * reach) & alive & (cooldown <= 0)
        loss = jnp.where(fires, damage, 0.0)

        def hurt(i, left):
            return left - jnp.where(unit == row(target, i), row(loss, i), 0.0)

        health = jnp.maximum(fold(hurt, health, n), 0.0)
        extra = jitter[0] if jitter.shape[0] == 1 else row(jitter, k)
        cooldown = cooldown + jnp.where(fires, reload + extra - cooldown, -rules.dt)
        x = jnp.where(alive, jnp.clip(x + step_x, 0.0, rules.width), x)
        y = jnp.where(alive, jnp.clip(y + step_y, 0.0, rules.height), y)
        wall = (x <= 0) | (x >= rules.width) | (y <= 0) | (y >= rules.height)
        health = jnp.where(wall, 0.0, health)
        x, y = push(x, y, health > 0, radius)
        return x, y, health, cooldown

    start = (battle.x, battle.y, battle.health, battle.cooldown)
    x, y, health, cooldown = jax.lax.fori_loop(0, rules.substeps, world_step, start)
    return battle.replace(
        x=x, y=y, health=health, cooldown=cooldown, action=action, steps=battle.steps + 1
    )
