"""One step of a batch of battles, a pure function of state, actions and random numbers."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from knife_jax.envs.smax.heuristic import enemy_actions
from knife_jax.envs.smax.physics import fight
from knife_jax.envs.smax.rules import Rules
from knife_jax.envs.smax.start import Mix, enemies_there
from knife_jax.envs.smax.state import Battle, per_unit


class Randoms(NamedTuple):
    """The random numbers of one environment step.

    jitter: added to the mean cooldown of a weapon that fires, in seconds, from -dt to 2 dt;
        float32[K, U, E] with K = 1, or K = ``rules.substeps`` for one per world step.
    choice: in (0, 1], which of the allies in sight an enemy walks to; float32[M, E].
    """

    jitter: Float[Array, "K U E"]
    choice: Float[Array, "M E"]


class Outcome(NamedTuple):
    """The outcome of a step: ``won`` means that all enemies are dead and some ally is not."""

    reward: Float[Array, " E"]
    terminated: Bool[Array, " E"]
    truncated: Bool[Array, " E"]
    won: Bool[Array, " E"]


def n_randoms(rules: Rules) -> int:
    """How many uniform numbers one step takes in each environment."""
    return rules.shots * rules.n_units + rules.n_enemies


def scale_randoms(rules: Rules, uniform: Float[Array, "R E"]) -> Randoms:
    """Turn R = ``n_randoms(rules)`` uniform numbers in [0, 1) into a step's randoms."""
    jitter, choice = uniform[: -rules.n_enemies], uniform[-rules.n_enemies :]
    jitter = jitter.reshape(rules.shots, rules.n_units, -1)
    return Randoms(jitter * (3 * rules.dt) - rules.dt, 1.0 - choice)


def step(
    rules: Rules,
    battle: Battle,
    action: Int[Array, "N E"],
    randoms: Randoms,
    mix: Mix | None = None,
) -> tuple[Battle, Outcome]:
    """Play the allies' actions against the scripted enemy; nothing is reset.

    Rewards are fractions of the health of the enemies that the task has, see ``mix``.
    Equal to JaxMARL's ``HeuristicEnemySMAX.step_env`` for equal battle, actions and random numbers,
    up to float rounding.
    """
    n = rules.n_allies
    enemy, aim = enemy_actions(rules, battle, randoms.choice)
    both = jnp.concatenate([action.astype(jnp.int32), enemy])
    after = fight(rules, battle.replace(aim=aim), both, randoms.jitter)
    lost = (after.health - battle.health) / per_unit(rules, "health", battle.unit_type)
    damage = jnp.abs(lost[n:].sum(0)) / enemies_there(rules, mix)
    beaten, wiped_out = ~after.alive[n:].any(0), ~after.alive[:n].any(0)
    won, terminated = beaten & ~wiped_out, beaten | wiped_out
    late = battle.steps >= rules.time_limit
    reward = damage + jnp.where(won, rules.win_bonus, 0.0)
    return after, Outcome(reward, terminated, late & ~terminated, won)
