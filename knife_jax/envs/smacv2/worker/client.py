"""A game of SMACv2: upstream's ``StarCraft2Env``, of which no object is used after a fault.

Upstream takes a crash for the end of an episode, and after it counts the enemies' health twice;
here whatever is not a step of a whole battle raises, and the worker ends.
"""

from __future__ import annotations

import random
import sys
from typing import Any, Optional

import numpy as np

from . import sampler
from .rows import Order, Row
from .scenarios import HORIZON, SETTINGS, STEP_MUL, Task, expected_reward, scenario, sizes

SILENT = 60
"""seconds after which the game counts as hung; upstream's 360 leave a worker waiting"""
SLACK = 2_000
"""loops that clearing the map and spawning may take"""


class BrokenGameError(Exception):
    """The game did something else than what it was asked for. The message is one line."""


class Smacv2:
    """One game of a worker. ``settings`` is what ``scenarios.settings`` returns."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings, self._battle = settings, scenario(settings["scenario"])
        self._tasks = [Task(*task) for task in settings["tasks"]]
        self._padded = settings["padded"]
        self.sizes = sizes(settings["scenario"], self._padded)
        self.recycled = 0
        self._env: Any = None
        self._race: Optional[str] = None
        if "smac" in sys.modules:
            raise ImportError("smac and smacv2 register maps of the same names: use only one")

    def reset(self, order: Order) -> Row:
        """Spawn new units in the game, which is started if there is none."""
        task = self._tasks[order.task]
        numbers = sampler.generator(order)
        episode = sampler.draw(numbers, task, self._battle)
        seeds = [int(seed) for seed in numbers.integers(2**31 - 1, size=3)]
        random.seed(seeds[0])
        np.random.seed(seeds[1])  # noqa: NPY002  (upstream draws from it)
        if self._env is not None and self._is_near_its_limit():
            self.close()
            self.recycled += 1
        if self._race != task.race:
            self.close()
        begins = self._env is None
        env = self._env = self._env or self._made(task.race, seeds[2])
        self._race, restarts = task.race, env.force_restarts
        obs, state = env.reset(episode)
        self._check_spawned(env, episode, restarts)
        if self._settings["reward_scale"] == "expected":
            env.max_reward = expected_reward(task, *self._battle[1:])
        elif begins:
            env.max_reward = self._max_reward(env)
        if self._settings["obs"] == "fixed":
            obs = self._observed(env)
        self._restarts, self._timeouts, self._loop = env.force_restarts, env.timeouts, _loop(env)
        return self._row(env, obs, state, 0.0, False, False, False)

    def step(self, action: Any) -> Row:
        """Take the actions. Raises ``BrokenGameError`` if that is not what happened."""
        env = self._env
        reward, ended, info = env.step([int(number) for number in action])
        if "battle_won" not in info or env.force_restarts != self._restarts:
            raise BrokenGameError("the game crashed in a step")
        if _loop(env) - self._loop != STEP_MUL:
            raise BrokenGameError(
                f"the game went on by {_loop(env) - self._loop} loops, not {STEP_MUL}"
            )
        self._loop = _loop(env)
        known = {unit.tag for unit in (*env.agents.values(), *env.enemies.values())}
        if any(unit.tag not in known for unit in _units(env)):
            raise BrokenGameError("there are units in the game that nobody has spawned")
        cut, self._timeouts = env.timeouts > self._timeouts, env.timeouts
        obs, state = self._observed(env), env.get_state()
        return self._row(env, obs, state, reward, ended and not cut, cut, bool(info["battle_won"]))

    def close(self) -> None:
        """End the game. The next episode starts another one."""
        if self._env is not None:
            self._env.close()
        self._env = self._race = None

    def _made(self, race: str, seed: int) -> Any:
        # not a package of the index: see the README
        from smacv2.env.starcraft2.starcraft2 import (  # pyright: ignore[reportMissingImports]
            StarCraft2Env,
        )

        if "smac" in sys.modules:
            raise ImportError("smac and smacv2 register maps of the same names: use only one")
        from absl import flags

        flags.FLAGS.sc2_timeout = SILENT
        _, n, m = self._battle
        capabilities = {
            "team_gen": {"n_units": n, "n_enemies": m, "observe": True},
            "start_positions": {"n_units": n, "n_enemies": m},
        }
        return StarCraft2Env(
            map_name="10gen_" + race, seed=seed, capability_config=capabilities, **SETTINGS
        )

    def _is_near_its_limit(self) -> bool:
        ahead = HORIZON * STEP_MUL + SLACK
        return _loop(self._env) + ahead > self._settings["loop_limit"]

    def _check_spawned(self, env: Any, episode: dict[str, Any], restarts: int) -> None:
        if env.force_restarts != restarts:
            raise BrokenGameError("the game crashed in a reset")
        teams = episode["team_gen"]
        wanted = sorted(env.ally_unit_map[unit] for unit in teams["ally_team"])
        wanted_enemies = sorted(int(env.enemy_unit_map[unit]) for unit in teams["enemy_team"])
        allies = sorted(unit.unit_type for unit in _units(env) if unit.owner == 1)
        enemies = sorted(unit.unit_type for unit in _units(env) if unit.owner == 2)
        if (allies, enemies) != (wanted, wanted_enemies):
            raise BrokenGameError(
                f"units of types {allies} and {enemies} were spawned, not {wanted} and "
                f"{wanted_enemies}"
            )

    @staticmethod
    def _max_reward(env: Any) -> float:
        """As upstream means it: it adds the enemies once for each pass that waits for them."""
        health = sum(unit.health_max + unit.shield_max for unit in env.enemies.values())
        return health + env.n_enemies * env.reward_death_value + env.reward_win

    def _observed(self, env: Any) -> Any:
        """The observations, to be asked for once a step: asking changes what is remembered.

        ``obs=fixed`` marks all enemies as told of, without which upstream hides those in sight
        (smacv2 issue 50); with ``prob_obs_enemy=1`` that is all that it changes.
        """
        if self._settings["obs"] == "fixed":
            env.obs_enemies.fill(1)
        return env.get_obs()

    def _row(
        self, env: Any, obs: Any, state: Any, reward: float, ended: bool, cut: bool, won: bool
    ) -> Row:
        obs, avail = np.array(obs, np.float32), np.array(env.get_avail_actions(), bool)
        state = np.asarray(state, np.float32)
        if self._padded and self._race != "protoss":
            obs, state = self._with_shields(obs, state)
        return Row(obs, state, avail, float(reward), ended, cut, won)

    def _with_shields(self, obs: Any, state: Any) -> Any:
        """With zeros where a race that has shields shows them."""
        _, n, m = self._battle
        others = (n - 1 + m) * 8
        rows = np.insert(obs[:, 4 : 4 + others].reshape(n, n - 1 + m, 8), 5, 0, axis=2)
        own = np.insert(obs[:, 4 + others :], 1, 0, axis=1)
        obs = np.concatenate([obs[:, :4], rows.reshape(n, -1), own], axis=1)
        allies = np.insert(state[: 7 * n].reshape(n, 7), 4, 0, axis=1)
        enemies = np.insert(state[7 * n : 7 * n + 6 * m].reshape(m, 6), 3, 0, axis=1)
        return obs, np.concatenate([allies.ravel(), enemies.ravel(), state[7 * n + 6 * m :]])


def _loop(env: Any) -> int:
    return int(env._obs.observation.game_loop)


def _units(env: Any) -> Any:
    return [unit for unit in env._obs.observation.raw_data.units if unit.owner in (1, 2)]
