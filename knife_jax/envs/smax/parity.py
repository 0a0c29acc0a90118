"""Battles in JaxMARL and here side by side, to show on any machine that the two still agree.

``compare`` plays JaxMARL and, at every step, makes one step of our own from JaxMARL's state with
the random numbers that JaxMARL draws. Not needed to play.
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from knife_jax.envs.smax.battle import Outcome, Randoms, step
from knife_jax.envs.smax.observe import View, observe
from knife_jax.envs.smax.physics import heading
from knife_jax.envs.smax.rules import Rules, load_rules
from knife_jax.envs.smax.state import Battle


def battle_from(rules: Rules, state: Any) -> Battle:
    """The battles that a batch of JaxMARL's ``HeuristicEnemySMAX`` states describes."""
    game, enemy = state.state, state.enemy_policy_state
    x, y = jnp.moveaxis(game.unit_positions, (2, 1), (0, 1))
    move = game.prev_movement_actions.round()
    codes = list(range(rules.n_moves + 1))
    ways = [heading(jnp.int32(code)) for code in codes]
    moved = jnp.select([(move[..., 0] == dx) & (move[..., 1] == dy) for dx, dy in ways], codes)
    attacked = game.prev_attack_actions
    goal_x, goal_y = jnp.moveaxis(enemy.default_target, (2, 1), (0, 1))
    aim = enemy.last_attacked_enemy.T
    unset = (goal_x == 0) & (goal_y == 0) & (aim == -1)
    n = rules.n_allies
    return Battle(
        x=x,
        y=y,
        health=game.unit_health.T,
        cooldown=game.unit_weapon_cooldowns.T,
        unit_type=game.unit_types.T.astype(jnp.int32),
        action=jnp.where(attacked > rules.n_moves, attacked, moved).T.astype(jnp.int32),
        goal_x=jnp.where(unset, rules.width - x[n:], goal_x),
        goal_y=jnp.where(unset, rules.height - y[n:], goal_y),
        aim=jnp.where(aim < 0, -1, n - 1 - aim).astype(jnp.int32),
        steps=game.step.astype(jnp.int32),
    )


def randoms_from(rules: Rules, keys: Key[Array, "E"]) -> Randoms:
    """The numbers that JaxMARL's ``step_env`` draws from `keys` [E], one key per environment."""

    def draw(key):
        key, enemy_key = jax.random.split(key)
        enemy_keys = jax.random.split(enemy_key, rules.n_enemies)
        choice = jax.vmap(lambda k: 1.0 - jax.random.uniform(jax.random.split(k)[0]))(enemy_keys)

        def world_step(key, _):
            key, now = jax.random.split(key)
            unit_keys = jax.random.split(now, rules.n_units)
            late = partial(jax.random.uniform, minval=-rules.dt, maxval=2 * rules.dt)
            return key, jax.vmap(late)(unit_keys)

        return Randoms(jax.lax.scan(world_step, key, None, rules.substeps)[1], choice)

    return jax.vmap(draw, out_axes=-1)(keys)


def compare(
    scenario: str, n_envs: int, n_steps: int, key: PRNGKeyArray
) -> dict[str, Float[Array, "T E"]]:
    """The largest absolute difference of every quantity after each of T x E single steps.

    JaxMARL plays on from its own results; ours are thrown away. In the even environments the
    allies act at random, in the odd ones they shoot the first enemy in reach, else act at random.
    Only available actions are played. Raises ValueError as ``load_rules`` does.
    """
    rules = load_rules(scenario)
    from jaxmarl import make
    from jaxmarl.environments.smax import map_name_to_scenario

    env = make("HeuristicEnemySMAX", scenario=map_name_to_scenario(scenario))
    focus = (jnp.arange(n_envs) % 2 == 1)[:, None]
    key, reset_key = jax.random.split(key)
    _, start = jax.jit(jax.vmap(env.reset))(jax.random.split(reset_key, n_envs))

    def body(state, key_and_time):
        key, time = key_and_time
        act_key, step_key = jax.random.split(key)
        avail_actions = _by_agent(env, jax.vmap(env.get_avail_actions)(state)).astype(bool)
        drawn = jax.random.categorical(act_key, jnp.where(avail_actions, 0.0, -jnp.inf))
        attack = avail_actions.at[..., : rules.n_moves + 1].set(False)
        action = jnp.where(focus & attack.any(-1), jnp.argmax(attack, -1), drawn)
        keys = jax.random.split(step_key, n_envs)
        after, done, gaps = _step_both(rules, env, keys, state, action)

        def restart(new, old):
            over = done.reshape((n_envs,) + (1,) * (old.ndim - 1))
            return jnp.where(over, jnp.roll(new, time, axis=0), old)

        return jax.tree.map(restart, start, after), gaps

    steps = (jax.random.split(key, n_steps), jnp.arange(n_steps))
    return jax.jit(lambda steps: jax.lax.scan(body, start, steps)[1])(steps)


def _step_both(
    rules: Rules, env: Any, keys: Key[Array, "E"], state: Any, action: Int[Array, "E N"]
) -> tuple[Any, Array, dict[str, Array]]:
    """JaxMARL's next states, their end flags, and how far ours are from them."""
    actions = {agent: action[:, i] for i, agent in enumerate(env.agents)}
    obs, after, reward, done, _ = jax.vmap(env.step_env)(keys, state, actions)
    avail_actions = _by_agent(env, jax.vmap(env.get_avail_actions)(after))
    alive = after.state.unit_alive
    ally, enemy = alive[:, : rules.n_allies].any(1), alive[:, rules.n_allies :].any(1)
    over = ~(ally & enemy)
    outcome = Outcome(reward[env.agents[0]], over, done["__all__"] & ~over, ally & ~enemy)
    theirs = (
        battle_from(rules, after),
        View(_by_agent(env, obs), obs["world_state"], avail_actions),
        outcome,
    )
    randoms = randoms_from(rules, keys)
    battle, our_outcome = step(rules, battle_from(rules, state), action.T, randoms)
    gaps = {}
    for mine, true in zip((battle, observe(rules, battle), our_outcome), theirs, strict=True):
        names = [f.name for f in fields(mine)] if isinstance(mine, Battle) else mine._fields
        for name in names:
            apart = getattr(mine, name).astype(jnp.float32) - getattr(true, name)
            env_axis = apart.ndim - 1 if mine is battle else 0
            others = tuple(axis for axis in range(apart.ndim) if axis != env_axis)
            gaps[name] = jnp.abs(apart).max(others)
    return after, done["__all__"], gaps


def _by_agent(env: Any, values: dict[str, Array]) -> Array:
    """[E, N, ...] from JaxMARL's dictionary over agents."""
    return jnp.stack([values[agent] for agent in env.agents], axis=1)
