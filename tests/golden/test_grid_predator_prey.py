"""The grid predator-prey against its rules stated again, step by step, and against hand numbers."""

import os
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from grid_rules import StagHunt

from knife_jax.config.grid_games import SCENARIOS, Game
from knife_jax.envs import grid_predator_prey as grid

ENVS = 3
SCALE = int(os.environ.get("GRID_STEPS", "73"))
"""steps of each of ENVS games together; GRID_STEPS=1400 plays more than 4,000 per configuration"""

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

    def start(game, cells, old, anew):
        fresh = grid.spawn(cells, game, largest)
        world = jax.tree.map(lambda new, old: jnp.where(anew, new, old), fresh, old)
        return world, grid.observe(world, game, largest, room)

    def play(game, world, action, draws):
        world, reward = grid.play(world, action, draws, game, room, largest.n_stags)
        return world, reward, grid.observe(world, game, largest, room)

    return jax.jit(start), jax.jit(play), room


class Single:
    """One of the games that are played together, in NumPy, and its place in the arrays.

    Members that only the larger arrays have come last in each team.
    """

    def __init__(self, game, largest, room, rng):
        self.game, self.largest, self.room, self.rng = game, largest, room, rng
        self.rules = StagHunt(**game._asdict())
        self.prey = np.r_[: game.n_stags, largest.n_stags + np.arange(game.n_hares)]
        self.members = np.r_[: game.n_agents, largest.n_agents + self.prey]
        self.ended, self.expected = True, (0.0, False, False)

    def reset(self):
        """Where everybody starts."""
        flat = self.rng.permutation(self.game.size**2)[: len(self.members)]
        places = np.stack(np.divmod(flat, self.game.size), axis=1)
        self.rules.reset(places)
        cells = np.full(self.largest.population, self.room.cell(0, 0), np.int32)
        cells[self.members] = self.room.cell(*places.T)
        return cells

    def act(self):
        """Available actions; agents catch more often than not where they may."""
        avail_actions = self.rules.avail_actions()
        keen = avail_actions[:, 5] & (self.rng.random(len(avail_actions)) < 0.6)
        action = np.full(self.largest.n_agents, grid.STAY, np.int32)
        action[: len(avail_actions)] = np.where(
            keen, grid.CATCH, (self.rng.random(avail_actions.shape) * avail_actions).argmax(1)
        )
        return action

    def draw(self):
        n = self.largest.n_agents
        n_prey = self.largest.population - n
        turns = (self.rng.permutation(k).astype(np.int32) for k in (n, n_prey))
        return grid.Draws(*turns, *self.rng.random((2, n_prey), np.float32))

    def step(self, action, draws):
        """The same step by the rules, which take orders, and random numbers by prey."""
        turn = draws.prey_turn[self.prey]
        self.expected = self.rules.step(
            action[: self.game.n_agents],
            np.argsort(draws.agent_turn[: self.game.n_agents]),
            np.argsort(turn),
            draws.rest[turn],
            draws.way[turn],
        )
        self.ended = any(self.expected[1:])

    def compare(self, world, seen):
        """With its column of the world, and its observations, state, available actions."""
        obs, state, avail_actions = seen
        rules, n = self.rules, self.game.n_agents
        assert world.steps == rules.steps
        here = [not frozen for frozen in rules.frozen] + rules.alive
        places = np.array(rules.agents + rules.prey)
        expected = np.zeros(self.largest.population, int)
        expected[self.members] = np.where(here, self.room.cell(*places.T), grid.GONE)
        np.testing.assert_array_equal(np.r_[world.agents, world.prey], expected)

        wide, v, size = 2 * self.largest.view + 1, self.game.view, self.game.size
        window = slice(self.largest.view - v, self.largest.view + v + 1)
        obs = obs.reshape(-1, wide, wide, 3)
        state = state.reshape(self.largest.size, self.largest.size, 3)
        small = obs[:n, window, window]
        np.testing.assert_array_equal(small.reshape(n, -1), rules.observations())
        np.testing.assert_array_equal(state[:size, :size].reshape(-1), rules.state())
        assert obs.sum() == small.sum() and state.sum() == state[:size, :size].sum()
        np.testing.assert_array_equal(avail_actions[:n], rules.avail_actions())
        absent = avail_actions[n:]
        np.testing.assert_array_equal(absent, np.tile(np.arange(6) == grid.STAY, (len(absent), 1)))


def columns(tree):
    """A tree of arrays [..., E] as E trees."""
    leaves = jax.tree.map(np.asarray, tree)
    return [jax.tree.map(lambda leaf: leaf[..., e], leaves) for e in range(ENVS)]  # noqa: B023


def rows(tree):
    """A tree of arrays [E, ...] as E trees."""
    return columns(jax.tree.map(lambda leaf: np.moveaxis(np.asarray(leaf), 0, -1), tree))


def stacked(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves, axis=-1), *trees)


EMBEDDED = [name for name, game in GAMES.items() if game.size <= LARGEST.size]


@pytest.mark.parametrize(
    ("name", "larger"), [*((n, False) for n in GAMES), *((n, True) for n in EMBEDDED)]
)
def test_every_step_is_that_of_the_rules(name, larger):
    """In arrays of its own size, and of the largest game of a sequence."""
    game = GAMES[name]
    largest = LARGEST if larger else game
    start, play, room = jitted(game, largest)
    rng = np.random.default_rng(len(name))
    games = [Single(game, largest, room, rng) for _ in range(ENVS)]
    cells = np.zeros((largest.population, ENVS), np.int32)
    world = grid.spawn(jnp.asarray(cells), game, largest)
    rewards = []
    for _ in range(SCALE):
        anew = np.array([each.ended for each in games])
        if anew.any():
            for e in np.flatnonzero(anew):
                cells[:, e] = games[e].reset()
            world, seen = start(game, cells, world, anew)
            for each, column, row in zip(games, columns(world), rows(seen), strict=True):
                each.compare(column, row)
        actions, draws = [each.act() for each in games], [each.draw() for each in games]
        world, reward, seen = play(game, world, stacked(actions), stacked(draws))
        for e, (column, row) in enumerate(zip(columns(world), rows(seen), strict=True)):
            games[e].step(actions[e], draws[e])
            games[e].compare(column, row)
            rewards.append(games[e].expected[0])
            np.testing.assert_allclose(reward[e], rewards[-1], rtol=1e-6)
    if game.size < 20:  # else some hundred random steps may not see it
        assert max(rewards) > game.time, "nothing was caught"
        assert not game.miss or min(rewards) < game.time


@pytest.mark.parametrize("larger", [False, True])
def test_the_environment_plays_these_rules(key, larger):
    """Its own fair draws, the flags and rows, and a new start after each end."""
    game = GAMES["crowded"]
    largest = LARGEST if larger else game
    env = grid.grid_predator_prey(game, ENVS, largest)
    *_, room = jitted(game, largest)
    sizes = largest.n_agents, largest.n_stags + largest.n_hares, ENVS
    draw = jax.jit(lambda key: grid.draw(jax.random.split(key, 3)[1], *sizes))
    step = jax.jit(env.step)
    games = [Single(game, largest, room, np.random.default_rng(e)) for e in range(ENVS)]
    hunts, now = jax.jit(env.reset)(key)
    ends = []
    for _ in range(3 * game.time_limit):
        draws, action = columns(draw(hunts.key)), np.zeros((ENVS, largest.n_agents), np.int32)
        for e, (column, row) in enumerate(zip(columns(hunts.world), rows(now), strict=True)):
            each = games[e]
            assert row.first == each.ended
            if row.first:
                cells = np.r_[column.agents, column.prey][each.members]
                assert len(set(cells.tolist())) == game.population
                each.rules.reset(np.stack(room.place(jnp.asarray(cells)), axis=1))
                each.expected = (0.0, False, False)
            each.compare(column, (row.obs, row.state, row.avail_actions))
            flags = (float(row.reward), bool(row.terminated), bool(row.truncated))
            assert flags == pytest.approx(each.expected)
            if row.last:
                ends.append(flags[1:])
            else:
                action[e] = each.act()
                each.step(action[e], draws[e])
            each.ended = bool(row.last)
        hunts, now = step(hunts, action)
    assert set(ends) == {(True, False), (False, True)}


def test_draws_are_fair(key):
    draws = jax.jit(lambda key: grid.draw(key, 3, 5, 3001))(key)
    turns, counts = np.unique(draws.agent_turn, axis=1, return_counts=True)
    assert turns.shape == (3, 6) and abs(counts - 500).max() < 100
    assert (np.sort(draws.prey_turn, axis=0) == np.arange(5)[:, None]).all()
    for uniform in (draws.rest, draws.way):
        assert uniform.min() >= 0 and uniform.max() < 1
        np.testing.assert_allclose(uniform.mean(1), 0.5, atol=0.03)


@pytest.mark.parametrize("traced", [False, True])
def test_starts_are_fair(key, traced):
    """Every cell is as likely for each member, and every ordered pair of cells for the first."""
    game, room, n = Game(3, 2, 1, 0), grid.Room(5), 7001
    draw = lambda game: grid.draw_cells(key, 3, n, game, room)  # noqa: E731
    cells = np.asarray(jax.jit(draw)(game) if traced else draw(game))
    inner = {int(room.cell(r, c)) for r, c in np.ndindex(3, 3)}
    for member in cells:
        places, counts = np.unique(member, return_counts=True)
        assert set(places.tolist()) == inner and abs(counts * 9 / n - 1).max() < 0.15
    for pair in (cells[:2], cells[1:]):
        pairs, counts = np.unique(pair, axis=1, return_counts=True)
        assert pairs.shape == (2, 72) and (pairs[0] != pairs[1]).all()
        assert abs(counts * 72 / n - 1).max() < 0.45


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
    spec = grid.grid_predator_prey(SCENARIOS["punish"], 1).spec
    assert (spec.n_actions, spec.obs_size, spec.state_size, spec.horizon) == (6, 75, 300, 200)


def test_no_environments_are_refused():
    with pytest.raises(ValueError, match="need n_envs >= 1, got 0"):
        grid.grid_predator_prey(SCENARIOS["small"], 0)
