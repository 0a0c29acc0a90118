"""StarCraft-like battles: JaxMARL's SMAX against its scripted enemy, as an ``Env``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from knife_jax.config.scenarios import SMAX_SCENARIOS
from knife_jax.config.schema import nearest
from knife_jax.envs.base import Env, EnvSpec, TimeStep, VecEnv, first_step
from knife_jax.envs.lean_import import jaxmarl_module
from knife_jax.envs.smax.rules import BY_TYPE, N_TYPES, SIZE
from knife_jax.types import PyTree


def smax(scenario: str, **rules: Any) -> Env:
    """A scenario of JaxMARL's ``HeuristicEnemySMAX``, with its default rules but for those given.

    The team's reward is the fraction of the enemies' health that a step took, and 1 more for a win:
    all enemies dead and an ally alive. An episode terminates when either side is wiped out and is
    truncated at JaxMARL's time limit. A dead agent observes zeros and may only stop (action 4).

    Raises ValueError for a scenario that is not in ``SMAX_SCENARIOS``.
    """
    game = _game(scenario, **rules)
    agents = game.agents

    def observe(obs: dict[str, Array], state: PyTree) -> tuple[Array, Array, Array]:
        avail_actions = game.get_avail_actions(state)
        return (
            jnp.stack([obs[agent] for agent in agents]),
            obs["world_state"],
            jnp.stack([avail_actions[agent] for agent in agents]).astype(bool),
        )

    def reset(key: PRNGKeyArray) -> tuple[PyTree, TimeStep]:
        obs, state = game.reset(key)
        # weakly typed leaves would make whatever carries the state compile twice
        state = jax.tree.map(lambda leaf: leaf.astype(leaf.dtype), state)
        return state, first_step(*observe(obs, state))

    def step(key: PRNGKeyArray, state: PyTree, action: Int[Array, "N"]) -> tuple[PyTree, TimeStep]:
        actions = {agent: action[i] for i, agent in enumerate(agents)}
        obs, state, reward, done, _ = game.step_env(key, state, actions)
        alive = state.state.unit_alive
        allies, enemies = jnp.any(alive[: game.num_allies]), jnp.any(alive[game.num_allies :])
        terminated = ~(allies & enemies)
        now = TimeStep(
            *observe(obs, state),
            reward=reward[agents[0]],
            terminated=terminated,
            truncated=done["__all__"] & ~terminated,
            first=jnp.zeros((), bool),
            won=allies & ~enemies,
        )
        return state, now

    spec = EnvSpec(
        name=f"smax/{scenario}",
        n_agents=game.num_allies,
        n_actions=game.num_ally_actions,
        obs_size=game.obs_size,
        state_size=game.state_size,
        horizon=game.max_steps + 1,  # JaxMARL tests its limit before it counts the step
        has_win=True,
    )
    return Env(spec, reset, step)


def _game(scenario: str, **rules: Any) -> Any:
    """JaxMARL's environment."""
    if scenario not in SMAX_SCENARIOS:
        close = nearest(scenario, SMAX_SCENARIOS, 0.6)
        hint = "" if close is None else f" (did you mean {close}?)"
        known = ", ".join(SMAX_SCENARIOS)
        raise ValueError(f"no SMAX scenario is called {scenario!r}{hint}; there are {known}")
    module = jaxmarl_module("smax")
    return module.HeuristicEnemySMAX(scenario=module.map_name_to_scenario(scenario), **rules)


def bounded_state(env: VecEnv) -> VecEnv:
    """The environment with every entry of the global state scaled to [0, 1].

    JaxMARL's world state holds positions up to 32 and cooldowns that go on falling while a unit
    does not fire (to -20 and below), which a mixing network with PyTorch's initial weights does
    not survive: its values diverge. Here positions are fractions of the map, cooldowns
    fractions of the unit type's reload time (0: ready to fire), as in observations, and types
    fractions of their number. Observations are bounded already.
    """
    n_units = env.spec.state_size // (N_TYPES + 6)
    reload = np.asarray(BY_TYPE["reload"], np.float32)

    def bound(now: TimeStep) -> TimeStep:
        split = n_units * (N_TYPES + 4)
        units = now.state[..., :split].reshape(*now.state.shape[:-1], n_units, -1)
        health, position, cooldown, kind = jnp.split(units, [1, 3, 4], axis=-1)
        of_type = kind @ reload[:, None]  # 0 for the dead, whose cooldown is 0, too
        cooldown = jnp.clip(cooldown / jnp.where(of_type > 0, of_type, 1.0), 0.0, 1.0)
        units = jnp.concatenate([health, position / SIZE, cooldown, kind], axis=-1)
        teams, types = jnp.split(now.state[..., split:], 2, axis=-1)
        flat = units.reshape(*now.state.shape[:-1], split)
        return now.replace(state=jnp.concatenate([flat, teams, types / N_TYPES], axis=-1))

    def reset(key: PRNGKeyArray) -> tuple[PyTree, TimeStep]:
        state, now = env.reset(key)
        return state, bound(now)

    def step(state: PyTree, action: Int[Array, "E N"]) -> tuple[PyTree, TimeStep]:
        state, now = env.step(state, action)
        return state, bound(now)

    return env._replace(reset=reset, step=step)
