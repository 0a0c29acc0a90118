"""Predators hunt stags and hares on a grid: the stag hunt of Böhmer et al., and its descendants.

Rules of Böhmer, Kurin & Whiteson, "Deep Coordination Graphs" (arXiv 1910.00091), with the action
"catch" and without mountains, ghosts or a torus. Whoever is caught, or frozen after a catch,
leaves the grid.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from knife_jax.envs.base import Env, EnvSpec, TimeStep, first_row
from knife_jax.envs.grid_games import Game

STAY, CATCH = 4, 5
"""the actions before them are the ways right, down, left and up"""
GONE = 0
"""the cell of whoever is not on the grid"""
AGENT, STAG, HARE = range(3)
"""channels of observation and state"""
NEEDED = {STAG: 2, HARE: 1}
"""catchers at the sides of a prey, in the same step, that it takes"""


class World(NamedTuple):
    """Who is where. Prey P are the stags, then the hares; members M of both teams in that order.

    Cells are numbered by ``Room``.
    """

    agents: Int[Array, "N"]
    prey: Int[Array, "P"]
    steps: Int[Array, ""]


class Draws(NamedTuple):
    """The random numbers of one step."""

    agent_order: Int[Array, "N"]
    """a permutation: who moves first"""
    prey_order: Int[Array, "P"]
    rest: Float[Array, "P"]
    """in [0, 1): a prey rests below the game's probability"""
    turn: Float[Array, "P"]
    """in [0, 1): which of its free ways a prey takes"""


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

    def beside(self, one: Int[Array, "A"], other: Int[Array, "B"]) -> Bool[Array, "A B"]:
        """Which cells of the grid share a side; a cell that is GONE has no neighbours."""
        apart = jnp.abs(one[:, None] - other)
        return (apart == 1) | (apart == self.stride)


def grid_predator_prey(game: Game, largest: Game | None = None) -> Env:
    """The hunt as an environment; it terminates when no prey or no agent is left on the grid.

    ``largest`` gives the sizes of all arrays where it is not ``game`` itself: a game with fewer
    agents, prey or cells, a shorter view or limit leaves the rest of them empty, and its numbers
    may be traced. Agents that are not on the grid see zeros and may only stay. An agent sees its
    window of the grid, the state is all of it; channels are agents, stags, hares.
    """
    most = game if largest is None else largest
    room = Room(most.size)
    n_prey = most.n_stags + most.n_hares
    channel = np.array([AGENT] * most.n_agents + [STAG] * most.n_stags + [HARE] * most.n_hares)

    def see(world: World) -> tuple[Array, Array, Array]:
        return observe(world, game, most, room, channel)

    def reset(key: PRNGKeyArray) -> tuple[World, TimeStep]:
        world = spawn(draw_cells(key, len(channel), game, room), game, most)
        return world, first_row(*see(world))

    def step(key: PRNGKeyArray, world: World, action: Int[Array, "N"]) -> tuple[World, TimeStep]:
        draws = draw(key, most.n_agents, n_prey)
        world, reward = play(world, action, draws, game, room, channel[most.n_agents :])
        over = jnp.all(world.agents == GONE) | jnp.all(world.prey == GONE)
        late = world.steps >= game.time_limit
        no = jnp.zeros((), bool)
        return world, TimeStep(*see(world), reward, over & ~late, late, first=no, won=no)

    spec = EnvSpec(
        name="grid_predator_prey",
        n_agents=most.n_agents,
        n_actions=len(room.ways),
        obs_size=3 * (2 * most.view + 1) ** 2,
        state_size=3 * most.size**2,
        horizon=most.time_limit,
        has_win=False,
    )
    return Env(spec, reset, step)


def draw_cells(key: PRNGKeyArray, n: int, game: Game, room: Room) -> Int[Array, "n"]:
    """``n`` different cells of the grid, uniformly, in random order."""
    cells = jnp.arange(room.stride**2)
    luck = jnp.where(room.inside(cells, game.size), jax.random.uniform(key, cells.shape), -1.0)
    return jax.lax.top_k(luck, n)[1].astype(jnp.int32)


def spawn(cells: Int[Array, "M"], game: Game, most: Game) -> World:
    """The world in which everyone stands on the cell of its number."""
    number = np.concatenate([np.arange(n) for n in (most.n_agents, most.n_stags, most.n_hares)])
    counts = [game.n_agents] * most.n_agents + [game.n_stags] * most.n_stags
    present = number < jnp.array(counts + [game.n_hares] * most.n_hares)
    cells = jnp.where(present, cells, GONE)
    return World(cells[: most.n_agents], cells[most.n_agents :], jnp.zeros((), jnp.int32))


def draw(key: PRNGKeyArray, n_agents: int, n_prey: int) -> Draws:
    """Fair random numbers for one step."""
    bits = jax.random.bits(key, (n_agents + 3 * n_prey,))
    agents, prey, uniform = jnp.split(bits, [n_agents, n_agents + n_prey])
    rest, turn = jnp.split((uniform >> 8) * np.float32(2**-24), 2)
    return Draws(permutation(agents), permutation(prey), rest, turn)


def permutation(bits: UInt32[Array, "n"]) -> Int[Array, "n"]:
    """The order of the numbers, whose lowest bits give way to the index: cheaper than argsort."""
    low = np.uint32(2 ** (len(bits) - 1).bit_length() - 1)
    index = jnp.arange(len(bits), dtype=jnp.uint32)
    return (jnp.sort((bits & ~low) | index) & low).astype(jnp.int32)


def play(
    world: World,
    action: Int[Array, "N"],
    draws: Draws,
    game: Game,
    room: Room,
    kind: Int[np.ndarray, "P"],
) -> tuple[World, Float[Array, ""]]:
    """One step with given random numbers: agents walk in turn, then prey are caught or walk."""
    agents, n_stuck = walk(world.agents, world.prey, action, draws.agent_order, game, room)
    needed = np.vectorize(NEEDED.get, otypes=[int])(kind)
    tries = room.beside(world.prey, agents) & (action == CATCH)
    order = draws.prey_order
    at = (world.prey, tries, jnp.asarray(needed), draws.rest < game.rest, draws.turn)
    prey, tries, needs, rests, turn = jax.tree.map(lambda leaf: leaf[order], at)

    def one(k, carry):
        agents, prey, caught, n_missed = carry
        cell, trying = prey[k], tries[k] & (agents != GONE)
        n, alive = jnp.sum(trying), cell != GONE
        is_caught = alive & (n >= needs[k])
        n_missed += alive & (n > 0) & (n < needs[k])
        target = cell + room.ways[:4]
        free = is_free(target, agents, prey, game, room)
        chosen = jnp.cumsum(free) - 1 == (turn[k] * jnp.sum(free)).astype(jnp.int32)
        way = jnp.sum(jnp.where(free & chosen, room.ways[:4], 0))
        moved = jnp.where(rests[k] | ~alive, cell, cell + way)
        prey = prey.at[k].set(jnp.where(is_caught, GONE, moved))
        agents = jnp.where(trying & is_caught & game.freeze, GONE, agents)
        return agents, prey, caught.at[k].set(is_caught), n_missed

    carry = (agents, prey, jnp.zeros(len(kind), bool), jnp.zeros((), jnp.int32))
    agents, prey, caught, n_missed = jax.lax.fori_loop(0, len(kind), one, carry)
    worth = jnp.where(jnp.asarray(kind)[order] == STAG, game.stag, game.hare)
    reward = game.time + game.collision * n_stuck + game.miss * n_missed
    reward = reward + jnp.sum(jnp.where(caught, worth, 0.0))
    prey = jnp.zeros_like(prey).at[order].set(prey)
    return World(agents, prey, world.steps + 1), reward


def walk(
    agents: Int[Array, "N"],
    prey: Int[Array, "P"],
    action: Int[Array, "N"],
    order: Int[Array, "N"],
    game: Game,
    room: Room,
) -> tuple[Int[Array, "N"], Int[Array, ""]]:
    """Agents move in turn, each onto a free cell or not at all; how many did not."""
    way = jnp.asarray(room.ways)[action][order]

    def one(k, cells):
        target = cells[k] + way[k]
        free = is_free(target[None], cells, prey, game, room)[0] & (cells[k] != GONE)
        return cells.at[k].set(jnp.where(free, target, cells[k]))

    before = agents[order]
    after = jax.lax.fori_loop(0, len(agents), one, before)
    n_stuck = jnp.sum((after == before) & (before != GONE))
    return jnp.zeros_like(agents).at[order].set(after), n_stuck


def is_free(
    target: Int[Array, "T"], agents: Int[Array, "N"], prey: Int[Array, "P"], game: Game, room: Room
) -> Bool[Array, "T"]:
    """Whether a cell is on the grid with nobody in it."""
    taken = jnp.any(target[:, None] == jnp.concatenate([agents, prey]), axis=1)
    return room.inside(target, game.size) & ~taken


def observe(
    world: World, game: Game, most: Game, room: Room, channel: Int[np.ndarray, "M"]
) -> tuple[Float[Array, "N O"], Float[Array, "D"], Bool[Array, "N A"]]:
    """What agents see, the state, and the legal actions."""
    present = world.agents != GONE
    size, view = most.size, most.view
    wide = size + 2 * view
    row, column = room.place(jnp.concatenate([world.agents, world.prey]))
    corner = row * wide + column  # of the window around it, in a grid with ``view`` more cells

    def mark(cell: Array, n_cells: int) -> Array:
        point = jnp.where(row < 0, n_cells, cell) * 3 + channel
        return jnp.zeros(n_cells * 3).at[point].set(1.0, mode="drop")

    reach = np.abs(np.arange(2 * view + 1) - view)
    visible = (np.maximum(reach[:, None], reach) <= game.view).reshape(-1)
    window = (np.arange(2 * view + 1)[:, None] * wide + np.arange(2 * view + 1)).reshape(-1)
    grid = mark(corner + view * (wide + 1), wide**2).reshape(-1, 3)
    seen = grid[jnp.maximum(corner[: len(present), None], 0) + window]
    obs = jnp.where((present[:, None] & visible)[..., None], seen, 0.0)

    moves = room.inside(world.agents[:, None] + room.ways[:4], game.size) & present[:, None]
    prey_near = jnp.any(room.beside(world.agents, world.prey), axis=1)
    legal = [moves, jnp.ones_like(present)[:, None], prey_near[:, None]]
    obs = obs.reshape(len(present), -1)
    return obs, mark(row * size + column, size**2), jnp.concatenate(legal, axis=1)
