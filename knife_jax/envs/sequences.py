"""Sequences of tasks drawn from a seed. The first line of each says what varies between tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from knife_jax.config.grid_games import SCENARIOS, Game
from knife_jax.envs.base import vectorise
from knife_jax.envs.grid_predator_prey import grid_predator_prey
from knife_jax.envs.matrix_games import TABLES, best_return, matrix_game, one_shot
from knife_jax.envs.predator_prey import Pursuit, predator_prey
from knife_jax.envs.smax import Mix, batched_smax, load_rules
from knife_jax.envs.smax.jaxmarl import bounded_state
from knife_jax.envs.tasks import Tasks, TaskSeed
from knife_jax.types import PyTree

PAYOFF = 10.0
"""the best payoff of a representable matrix; its worst is 0"""

STAG, HARE = (2.0, 5.0, 10.0), (-2.0, 1.0, 5.0)
"""rewards of the grid predator-prey"""


def matrices(
    payoffs: str, scenario: str, n_actions: int, shared: float, n_tasks: int, task_seed: TaskSeed
) -> Tasks:
    """One-shot games: ``payoffs`` are those of ``scenario``, ``permuted``, or ``representable``."""
    if payoffs == "permuted":
        return permuted_matrices(scenario, n_tasks, task_seed)
    return representable_matrices(n_actions, n_tasks, task_seed, shared)


def permuted_matrices(scenario: str, n: int, seed: TaskSeed) -> Tasks:
    """A one-shot game with rows and columns permuted in each task: all equally difficult."""
    rng = np.random.default_rng(seed)
    (payoff,) = TABLES[scenario][0].payoff
    return _matrices([payoff[rng.permutation(len(payoff))][:, rng.permutation(len(payoff))]
                      for _ in range(n)])  # fmt: skip


def representable_matrices(n_actions: int, n: int, seed: TaskSeed, shared: float = 0.0) -> Tasks:
    """Payoffs (r1[u1] + r2[u2])³, scaled to [0, 10], with r1 and r2 uniform and independent.

    A monotone function of a sum: a monotone mixing network can represent all of them. Of each agent
    ``shared`` times ``n_actions`` actions, rounded and drawn anew in each task, have the r of a
    game that all tasks have in common: with 0 nothing carries over, with 1 all tasks are the same.
    """
    rng = np.random.default_rng(seed)
    values, common = rng.uniform(size=(n, 2, n_actions)), rng.uniform(size=(2, n_actions))
    places = rng.permuted(np.broadcast_to(np.arange(n_actions), values.shape), axis=-1)
    values = np.where(places < round(shared * n_actions), common, values)
    tables = []
    for first, second in values:
        payoff = np.add.outer(first, second) ** 3
        tables.append(PAYOFF * (payoff - payoff.min()) / (payoff.max() - payoff.min()))
    return _matrices(tables)


def _matrices(payoffs: list[np.ndarray]) -> Tasks:
    tables = [one_shot(payoff) for payoff in payoffs]
    optimum = np.array([best_return(table, 1) for table in tables])
    return Tasks(
        len(tables), _stack(tables), lambda table, e: vectorise(matrix_game(table, 1), e), optimum
    )


def grid_games(scenario: str, vary: str, n_tasks: int, task_seed: TaskSeed) -> Tasks:
    """A grid predator-prey whose numbers are redrawn for each task; sizes are the scenario's.

    ``rewards``: of stags and hares from ``STAG`` and ``HARE``. ``punishment``: of a miss,
    uniform in [-4, 0]. ``counts``: of agents from 2, of stags and hares from 0 and at least one
    prey, up to the scenario's. ``view``: from 1 up to the scenario's. ``rest``: uniform in [0, 1].
    ``all`` of these together.
    """
    rng = np.random.default_rng(task_seed)
    base = SCENARIOS[scenario]
    changes = {
        "rewards": lambda: {"stag": rng.choice(STAG), "hare": rng.choice(HARE)},
        "punishment": lambda: {"miss": rng.uniform(-4.0, 0.0)},
        "counts": lambda: _counts(base, rng),
        "view": lambda: {"view": rng.integers(min(1, base.view), base.view + 1)},
        "rest": lambda: {"rest": rng.uniform()},
    }
    games = _drawn(base, changes, vary, n_tasks)
    return Tasks(n_tasks, _stack(games), lambda game, e: grid_predator_prey(game, e, base))


def pursuits(n_predators: int, vary: str, n_tasks: int, task_seed: TaskSeed) -> Tasks:
    """An MPE predator-prey whose numbers are redrawn for each task.

    ``speed``: the force of the prey, uniform in [0.5, 4]. ``obstacles``: from none to all.
    ``rewards``: of a catch from {1, 10}, of the prey's distance from {0, -1}. ``all`` of these.
    """
    rng = np.random.default_rng(task_seed)
    changes = {
        "speed": lambda: {"prey_force": rng.uniform(0.5, 4.0)},
        "obstacles": lambda: {"n_obstacles": rng.integers(0, 2 * (n_predators // 3) + 1)},
        "rewards": lambda: {"catch": rng.choice([1.0, 10.0]), "distance": rng.choice([0.0, -1.0])},
    }
    games = _drawn(Pursuit(), changes, vary, n_tasks)
    return Tasks(n_tasks, _stack(games), lambda p, e: vectorise(predator_prey(n_predators, p), e))


def battles(scenario: str, vary: str, n_tasks: int, task_seed: TaskSeed) -> Tasks:
    """SMAX with another distribution of starts in each task.

    ``types``: how likely each type of unit is, uniform over all distributions on those that the
    scenario has. ``starts``: whether one team surrounds the other or they mirror each other,
    always or never. ``enemies``: how many there are, growing over the tasks up to the scenario's
    M, that of task k of K uniform in the k-th of K equal parts of 1 ... M. ``all`` of these.
    """
    rng = np.random.default_rng(task_seed)
    rules = load_rules(scenario)
    weights = np.array(rules.type_weights or [1 / rules.n_types] * rules.n_types)
    kinds = np.flatnonzero(weights)

    def types() -> dict[str, Any]:
        drawn = np.zeros_like(weights)
        drawn[kinds] = rng.dirichlet(np.ones(len(kinds)))
        return {"type_weights": drawn}

    parts = np.arange(n_tasks) + rng.spawn(1)[0].uniform(size=n_tasks)
    grown = iter(1 + np.floor(rules.n_enemies * parts / n_tasks).astype(int))
    changes = {
        "types": types,
        "starts": lambda: {"surround": float(rng.integers(2))},
        "enemies": lambda: {"n_enemies": next(grown)},
    }
    mixes = _drawn(Mix(weights, 0.5, rules.n_enemies), changes, vary, n_tasks)
    make = lambda mix, e: bounded_state(batched_smax(scenario, e, mix=mix))  # noqa: E731
    return Tasks(n_tasks, _stack(mixes), make)


def _drawn(base: Any, changes: dict[str, Callable[[], dict[str, Any]]], vary: str, n: int) -> list:
    """``n`` copies of the base with what varies redrawn."""
    varied = changes if vary == "all" else [vary]
    draw = lambda: {k: v for name in varied for k, v in changes[name]().items()}  # noqa: E731
    return [base._replace(**draw()) for _ in range(n)]


def _counts(base: Game, rng: np.random.Generator) -> dict[str, Any]:
    stags, hares = 0, 0
    while stags + hares == 0:
        stags, hares = rng.integers(0, [base.n_stags + 1, base.n_hares + 1])
    return {"n_agents": rng.integers(2, base.n_agents + 1), "n_stags": stags, "n_hares": hares}


def _stack(tasks: list) -> PyTree:
    """Tasks as one tree of arrays [K, ...], in 32 bits."""

    def column(*leaves) -> np.ndarray:
        array = np.stack(leaves)
        small = {"i": np.int32, "f": np.float32}.get(array.dtype.kind, array.dtype)
        return array.astype(small)

    return type(tasks[0])(*map(column, *tasks))
