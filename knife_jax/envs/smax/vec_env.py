"""E battles with auto-reset, behind the environment interface of this package."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from knife_jax.envs.base import EnvSpec, TimeStep, VecEnv
from knife_jax.envs.smax.battle import (
    Outcome,
    n_randoms,
    scale_randoms,
    step,
)
from knife_jax.envs.smax.observe import obs_size, observe, state_size
from knife_jax.envs.smax.rules import Rules, load_rules
from knife_jax.envs.smax.start import Mix, Start, draw_start, n_draws, open_battle
from knife_jax.envs.smax.state import Battle
from knife_jax.envs.smax.view import battle_view


class Battles(struct.PyTreeNode):
    """Running battles, a ready start for each, and which group of starts is redrawn next."""

    battle: Battle
    spare: Start
    last: Bool[Array, " E"]
    turn: Int[Array, ""]
    key: PRNGKeyArray


def batched_smax(
    scenario: str, n_envs: int, *, reset_period: int = 8, mix: Mix | None = None
) -> VecEnv:
    """JaxMARL's ``HeuristicEnemySMAX`` for `n_envs` battles at once, with next-step auto-reset.

    The step after an episode's last one ignores its actions and opens the next battle. Every
    environment keeps one start ready; each step redraws one in `reset_period` of them in turn, so
    two battles share a start only if the first is over in fewer than `reset_period` steps.
    ``mix`` replaces the scenario's own way of drawing types and places and number of enemies.
    Raises ValueError as ``load_rules`` does.
    """
    if n_envs < 1 or reset_period < 1:
        raise ValueError(f"n_envs={n_envs} and reset_period={reset_period} must be positive")
    rules = load_rules(scenario)
    group = -(-n_envs // reset_period)
    n_groups = -(-n_envs // group)
    group_of = jnp.arange(n_envs) // group
    per_step = n_randoms(rules) * n_envs

    def reset(key: PRNGKeyArray) -> tuple[Battles, TimeStep]:
        now, ahead, key = jax.random.split(key, 3)
        shape = (n_draws(rules), n_envs)
        battle = open_battle(rules, draw_start(rules, jax.random.uniform(now, shape), mix), mix)
        spare = draw_start(rules, jax.random.uniform(ahead, shape), mix)
        no = jnp.zeros(n_envs, bool)
        nothing = Outcome(jnp.zeros(n_envs), no, no, no)
        battles = Battles(battle, spare, no, jnp.zeros((), jnp.int32), key)
        return battles, time_step(rules, battle, nothing, ~no)

    def advance(battles: Battles, action: Int[Array, "E N"]) -> tuple[Battles, TimeStep]:
        key, draw = jax.random.split(battles.key)
        uniform = jax.random.uniform(draw, (per_step + n_draws(rules) * group,))
        randoms = scale_randoms(rules, uniform[:per_step].reshape(-1, n_envs))
        fresh = draw_start(rules, uniform[per_step:].reshape(-1, group), mix)
        redrawn = group_of == battles.turn
        spare = jax.tree.map(
            lambda new, old: jnp.where(redrawn, jnp.tile(new, n_groups)[:, :n_envs], old),
            fresh,
            battles.spare,
        )
        played, outcome = step(rules, battles.battle, action.T, randoms, mix)
        first = battles.last
        opened = open_battle(rules, battles.spare, mix)
        battle = jax.tree.map(lambda new, old: jnp.where(first, new, old), opened, played)
        outcome = Outcome(*(jnp.where(first, jnp.zeros_like(part), part) for part in outcome))
        last = outcome.terminated | outcome.truncated
        battles = Battles(battle, spare, last, (battles.turn + 1) % n_groups, key)
        return battles, time_step(rules, battle, outcome, first)

    spec = EnvSpec(
        name=f"smax/{scenario}",
        n_agents=rules.n_allies,
        n_actions=rules.n_actions,
        obs_size=obs_size(rules),
        state_size=state_size(rules),
        horizon=rules.time_limit + 1,
        has_win=True,
    )
    return VecEnv(spec, n_envs, reset, advance, view=battle_view(rules))


def time_step(rules: Rules, battle: Battle, outcome: Outcome, first: Array) -> TimeStep:
    """The time step of E battles, [E, ...]."""
    obs, state, avail_actions = observe(rules, battle)
    return TimeStep(
        obs=obs,
        state=state,
        avail_actions=avail_actions,
        reward=outcome.reward,
        terminated=outcome.terminated,
        truncated=outcome.truncated,
        first=first,
        won=outcome.won,
    )
