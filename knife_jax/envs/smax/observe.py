"""Observations, global state and available actions, from one pass over the pairs."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from knife_jax.envs.smax.physics import heading
from knife_jax.envs.smax.rules import Rules
from knife_jax.envs.smax.state import Battle, per_unit


class View(NamedTuple):
    """Observations of a battle, the environment axis first."""

    obs: Float[Array, "E N O"]
    state: Float[Array, "E D"]
    avail_actions: Bool[Array, "E N A"]


def obs_size(rules: Rules) -> int:
    """Seven numbers and the type bits of each other unit, then four and the bits of oneself."""
    return (7 + rules.n_types) * (rules.n_units - 1) + 4 + rules.n_types


def state_size(rules: Rules) -> int:
    """Four numbers and the type bits of each unit, then all teams, then all types."""
    return (6 + rules.n_types) * rules.n_units


def observe(rules: Rules, battle: Battle) -> View:
    """The allies' observations, the world state and the available actions, as JaxMARL has them."""
    n = rules.n_allies
    unit_health, reload = (per_unit(rules, name, battle.unit_type) for name in ("health", "reload"))
    kinds = [battle.unit_type == k for k in range(rules.n_types)]
    health = battle.health / unit_health
    cooldown = jnp.clip(battle.cooldown / reload, 0.0, 1.0)
    own = [health, battle.x / rules.width, battle.y / rules.height, cooldown, *kinds]
    whole = [health, battle.x, battle.y, battle.cooldown, *kinds]
    dx, dy = battle.x - battle.x[:n, None], battle.y - battle.y[:n, None]
    away = dx * dx + dy * dy
    obs = jnp.concatenate(
        [
            see_others(rules, battle, [health, cooldown, *kinds], (dx, dy, away)),
            jnp.where(battle.alive[:n, None], stack(own)[:n], 0.0),
        ],
        axis=1,
    )
    state = jnp.where(battle.alive[:, None], stack(whole), 0.0)
    team = np.arange(rules.n_units)[:, None] >= n
    teams = jnp.broadcast_to(jnp.asarray(team, jnp.float32), battle.x.shape)
    types = battle.unit_type.astype(jnp.float32)
    state = jnp.concatenate([state.reshape(-1, state.shape[-1]), teams, types])
    avail_actions = available_actions(rules, battle, away)
    return View(obs.transpose(2, 0, 1), state.T, avail_actions.transpose(2, 0, 1))


def see_others(
    rules: Rules, battle: Battle, seen: list[Array], between: tuple[Array, Array, Array]
) -> Float[Array, "N F E"]:
    """Each ally's view of every other unit in order, zero for one that is dead or out of sight."""
    n, units = rules.n_allies, rules.n_units
    dx, dy, away = between
    health, cooldown, *kinds = seen
    sight = jnp.broadcast_to(per_unit(rules, "sight", battle.unit_type), battle.x.shape)[:n, None]
    ally = np.arange(units)[:, None] < n
    last_action = np.where(ally, rules.n_moves + rules.n_enemies, rules.n_moves + n)
    attack = jnp.where(battle.action > rules.n_moves, battle.action, 0) / last_action
    alone = stack([health, *heading(battle.action), attack, cooldown, *kinds])
    alone = jnp.broadcast_to(alone, (n, *alone.shape))
    relative = jnp.stack([dx / sight, dy / sight], axis=2)
    features = jnp.concatenate([alone[:, :, :1], relative, alone[:, :, 1:]], axis=2)
    visible = (away < sight * sight) & battle.alive & battle.alive[:n, None]
    features = jnp.where(visible[:, :, None], features, 0.0)
    after = np.arange(units - 1) >= np.arange(n)[:, None]
    others = jnp.where(after[:, :, None, None], features[:, 1:], features[:, :-1])
    return others.reshape(n, -1, others.shape[-1])


def available_actions(rules: Rules, battle: Battle, away: Array) -> Bool[Array, "N A E"]:
    """Stop always, moves while alive, an attack on a living enemy within the attack range."""
    n = rules.n_allies
    reach = per_unit(rules, "reach", battle.unit_type)[:n, None]
    alive = battle.alive[:n, None]
    attack = (away[:, n:] < reach * reach) & battle.alive[n:] & alive
    moves = jnp.broadcast_to(alive, (n, rules.n_moves, alive.shape[-1]))
    return jnp.concatenate([moves, jnp.ones_like(alive), attack], axis=1)


def stack(features: list[Array]) -> Float[Array, "U F E"]:
    """Features of every unit side by side, as float32."""
    return jnp.stack([value.astype(jnp.float32) for value in features], axis=1)
