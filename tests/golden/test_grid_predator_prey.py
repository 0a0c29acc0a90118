"""The grid predator-prey against its rules stated again, step by step, and against hand numbers."""

import os
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from grid_rules import StagHunt

from knife_jax.envs import grid_predator_prey as grid
from knife_jax.envs.grid_games import SCENARIOS, Game

SCALE = int(os.environ.get("GRID_STEPS", "211"))
"""steps per game; 20,000 and more over all games are played with GRID_STEPS=4000"""

GAMES = {
    "punish": SCENARIOS["punish"],
    "gradps_small": SCENARIOS["gradps_small"],
    "reborn_small": SCENARIOS["reborn_small"],
    "crowded": Game(5, 5, 3, 4, 1, 31, 8.0, 2.0, -0.5, -0.25, -0.125, 0.5, freeze=True),
    "crowded, nobody freezes": Game(
        5, 7, 3, 2, 3, 23, 8.0, 2.0, -0.5, -0.25, -0.125, 0.25, freeze=False
    ),
    "hares only": Game(7, 3, 0, 5, 2, 43, rest=1.0),
}
LARGEST = Game(11, 11, 8, 5, 3, 211)
"""the arrays in which the small games are played once more"""


@cache
def jitted(game, largest):
    """The rules with given random numbers, in arrays of the sizes of ``largest``."""
    room = grid.Room(largest.size)
    kind = np.array([grid.STAG] * largest.n_stags + [grid.HARE] * largest.n_hares)
    channel = np.concatenate([np.zeros(largest.n_agents, int), kind])

    def start(game, cells):
        world = grid.spawn(cells, game, largest)
        return world, grid.observe(world, game, largest, room, channel)

    def play(game, world, action, draws):
        world, reward = grid.play(world, action, draws, game, room, kind)
        return world, reward, grid.observe(world, game, largest, room, channel)

    return jax.jit(start), jax.jit(play), room


class Pair:
    """The same game on both sides. Members that only the larger arrays have come last."""

    def __init__(self, game, largest, seed):
        self.rng = np.random.default_rng(seed)
        self.game, self.largest = game, largest
        self.start, self.play, self.room = jitted(game, largest)
        self.rules = StagHunt(**game._asdict())
        n, s = game.n_agents, game.n_stags
        self.agents = np.arange(n)
        self.prey = np.r_[:s, largest.n_stags + np.arange(game.n_hares)]
        self.members = np.r_[self.agents, largest.n_agents + self.prey]
        self.n_members = largest.n_agents + largest.n_stags + largest.n_hares

    def reset(self):
        flat = self.rng.permutation(self.game.size**2)[: len(self.members)]
        places = np.stack(np.divmod(flat, self.game.size), axis=1)
        self.rules.reset(places)
        cells = np.full(self.n_members, self.room.cell(0, 0), np.int32)
        cells[self.members] = self.room.cell(*places.T)
        self.world, seen = self.start(self.game, cells)
        self.compare(seen)

    def step(self):
        legal = self.rules.legal()
        keen = self.rng.random(len(legal)) < 0.6
        action = np.where(
            legal[:, 5] & keen, 5, (self.rng.random(legal.shape) * legal).argmax(1)
        ).astype(np.int32)
        n_prey = self.n_members - self.largest.n_agents
        order = self.rng.permutation(self.largest.n_agents)
        prey_order = self.rng.permutation(n_prey)
        rest, turn = self.rng.random((2, n_prey), np.float32)
        everyone = np.full(self.largest.n_agents, grid.STAY, np.int32)
        everyone[self.agents] = action
        draws = grid.Draws(order, prey_order, rest, turn)
        self.world, reward, seen = self.play(self.game, self.world, everyone, draws)
        back = {old: new for new, old in enumerate(self.prey)}
        expected, terminated, stopped = self.rules.step(
            action,
            [i for i in order if i < len(action)],
            [back[p] for p in prey_order if p in back],
            rest[self.prey],
            turn[self.prey],
        )
        np.testing.assert_allclose(reward, expected, rtol=1e-6)
        self.compare(seen)
        over = bool(jnp.all(self.world.agents == 0) | jnp.all(self.world.prey == 0))
        late = int(self.world.steps) >= self.game.time_limit
        assert (over and not late, late) == (terminated, stopped)
        return reward, terminated or stopped

    def compare(self, seen):
        obs, state, legal = map(np.asarray, seen)
        world, rules = self.world, self.rules
        assert int(world.steps) == rules.steps
        cells = np.concatenate([world.agents, world.prey])
        here = [not frozen for frozen in rules.frozen] + rules.alive
        places = np.array(rules.agents + rules.prey)
        expected = np.zeros(self.n_members, int)
        expected[self.members] = np.where(here, self.room.cell(*places.T), grid.GONE)
        np.testing.assert_array_equal(cells, expected)

        wide, v, size = 2 * self.largest.view + 1, self.game.view, self.game.size
        window = slice(self.largest.view - v, self.largest.view + v + 1)
        obs = obs.reshape(-1, wide, wide, 3)
        state = state.reshape(self.largest.size, self.largest.size, 3)
        small = obs[self.agents, window, window]
        np.testing.assert_array_equal(small.reshape(len(small), -1), rules.observations())
        np.testing.assert_array_equal(state[:size, :size].reshape(-1), rules.state())
        assert obs.sum() == small.sum() and state.sum() == state[:size, :size].sum()
        np.testing.assert_array_equal(legal[self.agents], rules.legal())
        absent = legal[len(self.agents) :]
        np.testing.assert_array_equal(absent, np.tile(np.arange(6) == grid.STAY, (len(absent), 1)))


EMBEDDED = [name for name, game in GAMES.items() if game.size <= LARGEST.size]


@pytest.mark.parametrize(
    ("name", "larger"), [*((n, False) for n in GAMES), *((n, True) for n in EMBEDDED)]
)
def test_every_step_is_that_of_the_rules(name, larger):
    """In arrays of its own size, and of the largest game of a sequence."""
    game = GAMES[name]
    pair = Pair(game, LARGEST if larger else game, seed=len(name))
    rewards, ended = [], True
    for _ in range(SCALE):
        if ended:
            pair.reset()
        reward, ended = pair.step()
        rewards.append(float(reward))
    if game.size < 20:  # else some hundred random steps may not see it
        assert max(rewards) > game.time, "nothing was caught"
        assert not game.miss or min(rewards) < game.time


def test_the_environment_plays_these_rules(key):
    """Reset and step of the ``Env``: its own fair draws, the flags and the row."""
    game = GAMES["crowded"]
    env = grid.grid_predator_prey(game)
    *_, room = jitted(game, game)
    world, row = jax.jit(env.reset)(key)
    step = jax.jit(env.step)
    assert row.first and len(set(np.asarray([*world.agents, *world.prey]).tolist())) == 12
    rules = StagHunt(**game._asdict())
    cells = jnp.concatenate([world.agents, world.prey])
    rules.reset(np.stack(list(map(np.asarray, room.place(cells))), axis=1))
    for t in range(game.time_limit):
        step_key = jax.random.fold_in(key, t)
        wanted = np.where(row.legal[:, 5], 5, t % 5)
        allowed = np.take_along_axis(np.asarray(row.legal), wanted[:, None], axis=1)[:, 0]
        action = np.where(allowed, wanted, grid.STAY).astype(np.int32)
        draws = jax.tree.map(np.asarray, grid.draw(step_key, 5, 7))
        world, row = step(step_key, world, action)
        expected = rules.step(action, *draws)
        seen = (float(row.reward), bool(row.terminated), bool(row.truncated))
        assert seen == pytest.approx(expected)
        np.testing.assert_array_equal(row.obs, rules.observations())
        np.testing.assert_array_equal(row.state, rules.state())
        np.testing.assert_array_equal(row.legal, rules.legal())
        if row.last:
            return
    raise AssertionError("the episode had no end")


def test_draws_are_fair(key):
    draws = jax.vmap(lambda k: grid.draw(k, 3, 5))(jax.random.split(key, 3001))
    orders, counts = np.unique(draws.agent_order, axis=0, return_counts=True)
    assert len(orders) == 6 and abs(counts - 500).max() < 100
    assert (np.sort(draws.prey_order, axis=1) == np.arange(5)).all()
    for uniform in (draws.rest, draws.turn):
        assert uniform.min() >= 0 and uniform.max() < 1
        np.testing.assert_allclose(uniform.mean(0), 0.5, atol=0.03)
    game = Game(3, 2, 1, 0)
    room = grid.Room(5)
    cells = jax.vmap(lambda k: grid.draw_cells(k, 3, game, room))(jax.random.split(key, 4001))
    inner = {int(room.cell(r, c)) for r, c in np.ndindex(3, 3)}
    places, counts = np.unique(cells, return_counts=True)
    assert set(places.tolist()) == inner and abs(counts * 9 / counts.sum() - 1).max() < 0.1
    assert all(len(set(row)) == 3 for row in np.asarray(cells).tolist())


def test_published_sizes():
    sizes = {
        name: (game.n_agents, game.n_stags, game.n_hares, game.size, game.view, game.time_limit)
        for name, game in SCENARIOS.items()
    }
    assert sizes == {
        "small": (4, 2, 2, 7, 2, 40),
        "stag_hunt": (8, 8, 0, 10, 2, 200),
        "punish": (8, 8, 0, 10, 2, 200),
        "gradps_small": (6, 6, 6, 20, 3, 150),
        "gradps_medium": (10, 10, 10, 25, 3, 150),
        "gradps_large": (15, 15, 15, 30, 3, 150),
        "reborn_small": (6, 12, 0, 20, 1, 200),
        "reborn_middle": (12, 24, 0, 30, 1, 200),
        "reborn_large": (18, 36, 0, 40, 1, 200),
    }
    spec = grid.grid_predator_prey(SCENARIOS["punish"]).spec
    assert (spec.n_actions, spec.obs_size, spec.state_size, spec.horizon) == (6, 75, 300, 200)
