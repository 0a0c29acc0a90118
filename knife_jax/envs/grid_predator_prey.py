"""Predators hunt stags and hares on a grid: the stag hunt of Böhmer et al., and its descendants.

Rules of Böhmer, Kurin & Whiteson, "Deep Coordination Graphs" (arXiv 1910.00091), with the action
"catch" and without mountains, ghosts or a torus. Caught prey, and agents frozen after a catch,
leave the grid. Many games are played at once: arrays have one column for each of E environments.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from knife_jax.config.grid_games import Game
from knife_jax.envs.base import EnvSpec, TimeStep, VecEnv
from knife_jax.envs.fold import fold
from knife_jax.envs.grid_view import AGENT, HARE, STAG, hunt_view
from knife_jax.envs.tasks import Tasks, single

STAY, CATCH = 4, 5
"""the actions before them are the ways right, down, left and up"""
GONE = 0
"""the cell of members that are not on the grid"""


class World(NamedTuple):
    """The cell of each agent N and prey P (the stags, then the hares); members M are both.

    Cells are numbered by ``Room``.
    """

    agents: Int[Array, "N E"]
    prey: Int[Array, "P E"]
    steps: Int[Array, " E"]


class Draws(NamedTuple):
    """The random numbers of one step."""

    agent_turn: Int[Array, "N E"]
    """a permutation of the agents: when each of them moves"""
    prey_turn: Int[Array, "P E"]
    rest: Float[Array, "P E"]
    """in [0, 1): a prey rests if this is below the game's probability"""
    way: Float[Array, "P E"]
    """in [0, 1): which of its free ways a prey takes"""


class Hunts(NamedTuple):
    """Running games; those that have ended restart at the next step."""

    world: World
    ended: Bool[Array, " E"]
    key: PRNGKeyArray


class Room:
    """Cells of a square grid with a border, in rows: the inner ones are 1 … size each way."""

    def __init__(self, size: int) -> None:
        self.stride = size + 2
        self.ways = np.array([1, self.stride, -1, -self.stride, 0, 0], np.int32)

    def cell(self, row, column):
        """The number of a cell; rows and columns count from 0."""
        return (row + 1) * self.stride + column + 1

    def place(self, cell: Array) -> tuple[Array, Array]:
        """Row and column of a cell, from 0."""
        return cell // self.stride - 1, cell % self.stride - 1

    def inside(self, cell: Array, size: Array | int) -> Array:
        """Whether the cell belongs to the first ``size`` rows and columns."""
        row, column = self.place(cell)
        return (row >= 0) & (row < size) & (column >= 0) & (column < size)

    def beside(self, one: Array, other: Array) -> Array:
        """Which cells of the grid share a side; a cell that is GONE has no neighbours."""
        apart = jnp.abs(one - other)
        return (apart == 1) | (apart == self.stride)


def make(game: Game) -> Tasks:
    """A game as a task of training."""
    return single(partial(grid_predator_prey, game))


def grid_predator_prey(game: Game, n_envs: int, largest: Game | None = None) -> VecEnv:
    """``n_envs`` hunts with auto-reset; one ends when no prey or no agent is left.

    ``largest`` gives the sizes of all arrays if it is not ``game`` itself: a game with fewer
    agents, prey or cells, a shorter view or limit leaves the rest of them empty, and its numbers
    may be traced. Agents that are not on the grid see zeros and may only stay. An agent sees its
    window of the grid, the state is all of it; channels are agents, stags, hares.
    Raises ValueError unless ``n_envs`` is at least 1.
    """
    if n_envs < 1:
        raise ValueError(f"need n_envs >= 1, got {n_envs}")
    most = game if largest is None else largest
    room = Room(most.size)

    def start(key: PRNGKeyArray) -> World:
        return spawn(draw_cells(key, most.population, n_envs, game, room), game, most)

    def time_step(world: World, reward: Array, first: Array) -> TimeStep:
        over = jnp.all(world.agents == GONE, axis=0) | jnp.all(world.prey == GONE, axis=0)
        late = world.steps >= game.time_limit
        obs, state, avail_actions = observe(world, game, most, room)
        reward = jnp.where(first, 0.0, reward)
        no = jnp.zeros(n_envs, bool)
        return TimeStep(obs, state, avail_actions, reward, over & ~late, late, first, no)

    def reset(key: PRNGKeyArray) -> tuple[Hunts, TimeStep]:
        key, start_key = jax.random.split(key)
        world = start(start_key)
        now = time_step(world, jnp.zeros(n_envs), jnp.ones(n_envs, bool))
        return Hunts(world, now.last, key), now

    def step(hunts: Hunts, action: Int[Array, "E N"]) -> tuple[Hunts, TimeStep]:
        key, draw_key, start_key = jax.random.split(hunts.key, 3)
        draws = draw(draw_key, most.n_agents, most.n_stags + most.n_hares, n_envs)
        world, reward = play(hunts.world, action.T, draws, game, room, most.n_stags)
        first = hunts.ended
        fresh = jax.lax.cond(jnp.any(first), start, lambda _: world, start_key)
        world = jax.tree.map(lambda new, old: jnp.where(first, new, old), fresh, world)
        now = time_step(world, reward, first)
        return Hunts(world, now.last, key), now

    spec = EnvSpec(
        name="grid_predator_prey",
        n_agents=most.n_agents,
        n_actions=len(room.ways),
        obs_size=3 * (2 * most.view + 1) ** 2,
        state_size=3 * most.size**2,
        horizon=most.time_limit,
        has_win=False,
    )
    return VecEnv(spec, n_envs, reset, step, view=hunt_view(most))


def draw_cells(key: PRNGKeyArray, n: int, n_envs: int, game: Game, room: Room) -> Int[Array, "n E"]:
    """``n`` different cells of the grid, uniformly, in random order: Floyd's sample, shuffled.

    The game's grid must have at least ``n`` cells.
    Bentley & Floyd, "Programming pearls: a sample of brilliance", CACM 30(9), 1987.
    """
    first = game.size**2 - n
    bits = jax.random.bits(key, (2 * n, n_envs))
    uniform = unit(bits[:n])

    def one(k, chosen):
        number = (uniform[k] * (first + k + 1)).astype(jnp.int32)
        taken = jnp.any(chosen == number, axis=0)
        return chosen.at[k].set(jnp.where(taken, first + k, number))

    chosen = jax.lax.fori_loop(0, n, one, jnp.full((n, n_envs), -1, jnp.int32))
    chosen = jnp.take_along_axis(chosen, permutation(bits[n:]), axis=0)
    return room.cell(chosen // game.size, chosen % game.size)


def spawn(cells: Int[Array, "M E"], game: Game, most: Game) -> World:
    """The world in which every member stands on the cell of its number."""
    number = np.concatenate([np.arange(n) for n in (most.n_agents, most.n_stags, most.n_hares)])
    counts = [game.n_agents] * most.n_agents + [game.n_stags] * most.n_stags
    present = number < jnp.array(counts + [game.n_hares] * most.n_hares)
    cells = jnp.where(present[:, None], cells, GONE)
    steps = jnp.zeros(cells.shape[1], jnp.int32)
    return World(cells[: most.n_agents], cells[most.n_agents :], steps)


def draw(key: PRNGKeyArray, n_agents: int, n_prey: int, n_envs: int) -> Draws:
    """Fair random numbers for one step."""
    bits = jax.random.bits(key, (n_agents + 3 * n_prey, n_envs))
    agents, prey, uniform = jnp.split(bits, [n_agents, n_agents + n_prey])
    return Draws(permutation(agents), permutation(prey), *jnp.split(unit(uniform), 2))


def unit(bits: UInt32[Array, "n E"]) -> Float[Array, "n E"]:
    """Uniform numbers in [0, 1)."""
    return (bits >> 8) * np.float32(2**-24)


def permutation(bits: UInt32[Array, "n E"]) -> Int[Array, "n E"]:
    """The rank of each number in its column; the lowest bits are replaced by its index."""
    low = np.uint32(2 ** (len(bits) - 1).bit_length() - 1)
    bits = (bits & ~low) | np.arange(len(bits), dtype=np.uint32)[:, None]
    return fold(
        lambda k, rank: rank + (bits[k] < bits), jnp.zeros(bits.shape, jnp.int32), len(bits)
    )


def play(
    world: World,
    action: Int[Array, "N E"],
    draws: Draws,
    game: Game,
    room: Room,
    n_stags: int,
) -> tuple[World, Float[Array, " E"]]:
    """One step with given random numbers: agents walk in turn, then prey are caught or walk.

    A stag takes two catchers at its sides, a hare one.
    """
    agents = walk(world, action, draws.agent_turn, game, room)
    n_stuck = jnp.sum((agents == world.agents) & (agents != GONE), axis=0)
    reward = game.time + game.collision * n_stuck.astype(jnp.float32)

    def one(k, carry):
        agents, prey, reward = carry
        mine = draws.prey_turn == k
        cell = jnp.sum(jnp.where(mine, prey, 0), axis=0)
        stag = jnp.any(mine[:n_stags], axis=0)
        tries = room.beside(cell, agents) & (action == CATCH)
        n = jnp.sum(tries, axis=0)
        caught = n >= jnp.where(stag, 2, 1)
        free = is_free(cell + room.ways[:4, None], agents, prey, game, room)
        wanted = (draws.way[k] * jnp.sum(free, axis=0)).astype(jnp.int32)
        chosen = free & (jnp.cumsum(free, axis=0) - 1 == wanted) & (draws.rest[k] >= game.rest)
        moved = cell + jnp.sum(jnp.where(chosen, room.ways[:4, None], 0), axis=0)
        prey = jnp.where(mine, jnp.where(caught, GONE, moved), prey)
        agents = jnp.where(tries & caught & game.freeze, GONE, agents)
        missed = jnp.where(n > 0, game.miss, 0.0)
        return (
            agents,
            prey,
            reward + jnp.where(caught, jnp.where(stag, game.stag, game.hare), missed),
        )

    carry = (agents, world.prey, reward)
    agents, prey, reward = jax.lax.fori_loop(0, len(world.prey), one, carry)
    return World(agents, prey, world.steps + 1), reward


def walk(
    world: World, action: Int[Array, "N E"], turn: Int[Array, "N E"], game: Game, room: Room
) -> Int[Array, "N E"]:
    """The agents' cells after each has moved in turn, onto a free cell or not at all."""
    there = jnp.where(world.agents == GONE, GONE, world.agents + jnp.asarray(room.ways)[action])

    def one(k, agents):
        mine = turn == k
        target = jnp.sum(jnp.where(mine, there, 0), axis=0, keepdims=True)
        free = is_free(target, agents, world.prey, game, room)
        return jnp.where(mine & free, target, agents)

    return jax.lax.fori_loop(0, len(turn), one, world.agents)


def is_free(
    target: Int[Array, "T E"],
    agents: Int[Array, "N E"],
    prey: Int[Array, "P E"],
    game: Game,
    room: Room,
) -> Bool[Array, "T E"]:
    """Whether a cell is on the grid and empty."""
    taken = jnp.any(target[:, None] == jnp.concatenate([agents, prey]), axis=1)
    return room.inside(target, game.size) & ~taken


def observe(
    world: World, game: Game, most: Game, room: Room
) -> tuple[Float[Array, "E N O"], Float[Array, "E D"], Bool[Array, "E N A"]]:
    """The observations, the state and the available actions."""
    channel = np.repeat([AGENT, STAG, HARE], [most.n_agents, most.n_stags, most.n_hares])[:, None]
    n, n_envs = world.agents.shape
    env, agent = np.arange(n_envs), np.arange(n)[:, None, None]
    present = world.agents != GONE
    members = jnp.concatenate([world.agents, world.prey])
    row, column = room.place(members)

    wide = 2 * most.view + 1
    down, right = row - row[:n, None], column - column[:n, None]  # from agent to member, [N, M, E]
    near = jnp.maximum(jnp.abs(down), jnp.abs(right)) <= game.view
    seen = near & present[:, None] & (members != GONE)
    point = ((down + most.view) * wide + right + most.view) * 3 + channel
    obs = jnp.zeros((n_envs, n, wide**2 * 3))
    obs = obs.at[env, agent, jnp.where(seen, point, obs.shape[-1])].set(1.0, mode="drop")

    point = (row * most.size + column) * 3 + channel
    state = jnp.zeros((n_envs, most.size**2 * 3))
    state = state.at[env, jnp.where(members != GONE, point, state.shape[-1])].set(1.0, mode="drop")

    moves = room.inside(world.agents[:, None] + room.ways[:4, None], game.size) & present[:, None]
    prey_near = jnp.any(room.beside(world.agents[:, None], world.prey), axis=1)
    avail_actions = jnp.stack([*moves.swapaxes(0, 1), jnp.ones_like(present), prey_near], axis=1)
    return obs, state, avail_actions.transpose(2, 0, 1)
