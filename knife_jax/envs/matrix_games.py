"""Small cooperative games given by tables, with their exact optima.

Two agents act at once in one of S states; a table gives the team reward and the next state.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from knife_jax.envs.base import Env, EnvSpec, TimeStep, first_step, vectorise
from knife_jax.envs.tasks import Tasks, single
from knife_jax.envs.view import Payoffs, Scene, View
from knife_jax.types import PyTree

END = -1
"""the next state if an episode terminates"""


class Table(NamedTuple):
    """A game of two agents, in NumPy or JAX; its leaves may be traced."""

    payoff: Float[Any, "S A A"]
    follow: Int[Any, "S A A"]
    start: Float[Any, "S"]
    """probabilities"""
    features: Float[Any, "S F"]
    """what both agents and the mixer see of a state"""


def one_shot(*payoffs: object) -> Table:
    """One joint action, paid by one of the matrices; all are equally likely, and seen."""
    payoff = np.array(payoffs, np.float32)
    n = len(payoff)
    follow = np.full(payoff.shape, END, np.int32)
    return Table(payoff, follow, np.full(n, 1 / n, np.float32), np.eye(n, dtype=np.float32))


def two_step() -> Table:
    """The first agent chooses the matrix of the second step (Rashid et al. 2018, section 5)."""
    payoff = np.array([[[0, 0], [0, 0]], [[7, 7], [7, 7]], [[0, 1], [1, 8]]], np.float32)
    follow = np.full(payoff.shape, END, np.int32)
    follow[0] = [[1, 1], [2, 2]]
    return Table(payoff, follow, np.array([1, 0, 0], np.float32), np.eye(3, dtype=np.float32))


def mmdp() -> Table:
    """(0, 0) pays 1 until (1, 1) is played, and never again (Wang et al. 2021, QPLEX)."""
    payoff = np.zeros((2, 2, 2), np.float32)
    payoff[0, 0, 0] = 1
    follow = np.array([[[0, 0], [0, 1]], [[1, 1], [1, 1]]], np.int32)
    return Table(payoff, follow, np.array([1, 0], np.float32), np.eye(2, dtype=np.float32))


def n_step(steps: int, good_branches: int = 4) -> Table:
    """MAVEN's game (Mahajan et al. 2019): repeat the first joint action, but not at the end.

    The first joint action chooses a branch; in a good one each of ``steps`` repetitions pays 1 and
    anything else ends the episode. The last step of branch 0 pays 4 for (1, 1) instead.
    """
    branches = [0, 1, 2, 3] if good_branches == 4 else [0, 3]
    n_states = 1 + 4 * steps
    payoff = np.zeros((n_states, 2, 2), np.float32)
    follow = np.full(payoff.shape, END, np.int32)
    features = np.zeros((n_states, steps + 1 + 4), np.float32)
    features[0, 0] = 1
    follow[0] = [[1, 2], [3, 4]]
    for step in range(1, steps + 1):
        for branch in range(4):
            state = 1 + 4 * (step - 1) + branch
            features[state, [step, steps + 1 + branch]] = 1
            if branch in branches:
                payoff[state, branch // 2, branch % 2] = 1
                if step < steps:
                    follow[state, branch // 2, branch % 2] = state + 4
    payoff[1 + 4 * (steps - 1)] = [[1, 1], [1, 4]]
    return Table(payoff, follow, np.eye(n_states, dtype=np.float32)[0], features)


QTRAN = np.array([[8, -12, -12], [-12, 0, 0], [-12, 0, 0]], np.float32)
NARROW = [[10.4, 0, 10], [0, 10, 10], [10, 10, 10]]
PARTIAL = ([[10, 8, 5], [8, 6, 3], [5, 3, 0]], [[0, 3, 5], [3, 6, 8], [5, 8, 10]])

TABLES: dict[str, tuple[Table, int]] = {
    "qtran": (one_shot(QTRAN), 1),
    "qplex_narrow": (one_shot(NARROW), 1),
    "qplex_three_optima": (one_shot([[8, -12, -12], [-12, 6, 0], [-12, 0, 6]]), 1),
    "pymarl2": (one_shot([[12, -0.1, -0.1], [-0.1, 0, 0], [-0.1, 0, 0]]), 1),
    "qtran_two_states": (one_shot(*PARTIAL), 1),
    "two_step": (two_step(), 2),
    "mmdp": (mmdp(), 100),
    "n_step": (n_step(10), 11),
    "n_step_two_branches": (n_step(10, good_branches=2), 11),
}
"""name -> the game and its time limit (QTRAN's matrix is QPLEX's second, ``qplex_narrow`` its
first)"""


def best_return(table: Table, time_limit: int) -> float:
    """The most that any joint policy can expect, undiscounted, by backward induction."""
    value = np.zeros(len(table.payoff) + 1)  # the last entry is END's
    for _ in range(time_limit):
        value[:-1] = (table.payoff + value[table.follow]).max(axis=(1, 2))
    return float(np.asarray(table.start, float) @ value[:-1])


def matrix_game(table: Table, time_limit: int) -> Env:
    """The game as an environment. The state is the features, once; all actions are available."""
    _, n_actions, _ = table.payoff.shape
    avail_actions = jnp.ones((2, n_actions), bool)

    def see(state: Int[Array, ""]) -> tuple[Array, Array, Array]:
        seen = jnp.where(state == END, 0.0, jnp.asarray(table.features)[state])
        return jnp.tile(seen, (2, 1)), seen, avail_actions

    def reset(key: PRNGKeyArray) -> tuple[tuple[Array, Array], TimeStep]:
        edges = jnp.cumsum(jnp.asarray(table.start)[:-1])
        state = jnp.sum(jax.random.uniform(key) >= edges, dtype=jnp.int32)
        return (state, jnp.zeros((), jnp.int32)), first_step(*see(state))

    def step(key: PRNGKeyArray, now: tuple[Array, Array], action: Int[Array, "N"]):
        del key
        at = (now[0], action[0], action[1])
        state, steps = jnp.asarray(table.follow)[at], now[1] + 1
        over, no = state == END, jnp.zeros((), bool)
        reward = jnp.asarray(table.payoff)[at]
        late = ~over & (steps >= time_limit)
        return (state, steps), TimeStep(*see(state), reward, over, late, first=no, won=no)

    n_features = table.features.shape[1]
    spec = EnvSpec("matrix_game", 2, n_actions, n_features, n_features, time_limit, has_win=False)
    return Env(spec, reset, step, table_view(table))


def table_view(table: Table) -> View:
    """The payoffs of the state that the game is in; zeros at its end."""
    n_states, n_actions, _ = table.payoff.shape

    def look(at: PyTree, now: TimeStep) -> Scene:
        del now
        state, _ = at
        payoff = jnp.asarray(table.payoff)[state]
        return {"payoff": jnp.where(state == END, 0.0, payoff), "state": state}

    return View(tuple(map(str, range(n_actions))), Payoffs(n_states), look)


def gaussian_squeeze(amounts: Float[Any, "N"], modes: tuple[tuple[float, float], ...]) -> Env:
    """One joint action of 11 levels each; the mean resource must hit a mode (Son et al. 2019).

    The team gets Σ_k r exp(-(r - μ_k)² / σ_k²) with r the mean of level times amount, for ``modes``
    of (μ_k, σ_k²). Nothing is observed.
    """
    n_agents = len(amounts)
    seen = jnp.ones((n_agents, 1)), jnp.ones(1), jnp.ones((n_agents, LEVELS), bool)

    def reset(key: PRNGKeyArray) -> tuple[Array, TimeStep]:
        del key
        return jnp.zeros(()), first_step(*seen)

    def step(key: PRNGKeyArray, state: Array, action: Int[Array, "N"]) -> tuple[Array, TimeStep]:
        del key
        reward = squeeze(jnp.mean(action * jnp.asarray(amounts)), modes)
        no = jnp.zeros((), bool)
        return state, TimeStep(*seen, reward, terminated=~no, truncated=no, first=no, won=no)

    return Env(EnvSpec("gaussian_squeeze", n_agents, LEVELS, 1, 1, 1, has_win=False), reset, step)


LEVELS = 11
SQUEEZE_AGENTS = 10
SQUEEZES = {
    "gaussian_squeeze": ((8.0, 0.25),),
    "gaussian_squeeze_two_modes": ((8.0, 0.25), (5.0, 1.0)),
}


def squeeze(r: Any, modes: tuple[tuple[float, float], ...]) -> Any:
    """The payoff of a mean resource, NumPy or JAX."""
    xp = jnp if isinstance(r, jax.Array) else np
    return sum(r * xp.exp(-((r - mu) ** 2) / variance) for mu, variance in modes)


def draw_amounts(seed: int) -> Float[np.ndarray, "N"]:
    """What each agent's level is worth: uniform in [0, 2)."""
    return np.random.default_rng(seed).uniform(0, 2, SQUEEZE_AGENTS).astype(np.float32)


def best_squeeze(amounts: Float[np.ndarray, "N"], modes: tuple[tuple[float, float], ...]) -> float:
    """The best payoff of all 11^N joint actions.

    The payoff rises up to a peak and falls behind it, so the best sum lies next to some peak: for
    each sum of the first half of the agents, the nearest ones of the other half are tried.
    """

    def sums(part: np.ndarray) -> np.ndarray:
        total = np.zeros(1)
        for amount in part.astype(float):
            total = np.add.outer(total, amount * np.arange(LEVELS)).reshape(-1)
        return np.sort(total)

    n, half = len(amounts), len(amounts) // 2
    first, second = sums(amounts[:half]), sums(amounts[half:])
    grid = np.linspace(0, amounts.sum() * (LEVELS - 1) / n, 100_001)
    value = squeeze(grid, modes)
    rises = np.diff(value) > 0
    best = 0.0
    for peak in grid[np.r_[True, rises] & ~np.r_[rises, False]]:
        at = np.searchsorted(second, n * peak - first)
        for near in (at - 1, at):
            total = first + second[np.clip(near, 0, len(second) - 1)]
            best = max(best, float(squeeze(total / n, modes).max()))
    return best


def make(scenario: str) -> Tasks:
    """A named game as a task of training, with its best expected return."""
    if scenario in SQUEEZES:
        amounts, modes = draw_amounts(seed=0), SQUEEZES[scenario]
        env = gaussian_squeeze(amounts, modes)
        return single(partial(vectorise, env), best_squeeze(amounts, modes))
    game = TABLES[scenario]
    return single(partial(vectorise, matrix_game(*game)), best_return(*game))
