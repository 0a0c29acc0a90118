"""Tasks as a random factor: each seed is trained and evaluated in a drawing of its own."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
from tiny import seed_of, tiny_config

from knife_jax.builders.envs import make_tasks
from knife_jax.builders.program import build
from knife_jax.config.environments import (
    GridSequenceConfig,
    MatrixSequenceConfig,
    PursuitSequenceConfig,
    SmaxSequenceConfig,
)
from knife_jax.envs.matrix_games import best_return
from knife_jax.envs.sequences import representable_matrices
from knife_jax.training.replay import unpack

pytestmark = pytest.mark.usefixtures("networks_at_once")

ROUND = 7 * 5  # environments x window of the tiny configuration
SEEDS = (40, 41, 42)
GAMES = MatrixSequenceConfig(
    n_tasks=5, steps_per_task=2 * ROUND, n_envs=7, drawing="per_seed", order="shuffled", task_seed=9
)


def payoffs(tasks):
    return np.asarray(tasks.own.payoff)[:, :, 0]


def test_a_drawing_is_that_of_its_seed_and_of_the_task_seed_alone():
    own = payoffs(make_tasks(GAMES, SEEDS))
    for s, seed in enumerate(SEEDS):
        drawn = representable_matrices(5, 5, (9, seed))
        order = np.random.default_rng((9, seed)).permutation(5)
        np.testing.assert_array_equal(own[s], drawn.params.payoff[order, 0])
    np.testing.assert_array_equal(own[1:], payoffs(make_tasks(GAMES, SEEDS[1:])))
    other = payoffs(make_tasks(replace(GAMES, task_seed=10), SEEDS))
    together = np.concatenate([own, other]).reshape(-1, 25)
    assert len(np.unique(together, axis=0)) == 2 * 3 * 5, "no game is met twice"


COMMON = {"n_envs": 3, "n_tasks": 4, "steps_per_task": 9, "drawing": "per_seed"}


@pytest.mark.parametrize(
    "section",
    [
        GridSequenceConfig(vary="all", **COMMON),
        PursuitSequenceConfig(vary="speed", **COMMON),
        SmaxSequenceConfig(vary="types", **COMMON),
        MatrixSequenceConfig(payoffs="permuted", **COMMON),
    ],
    ids=lambda section: section.name,
)
def test_every_sequence_can_be_drawn_for_each_seed(section):
    tasks = make_tasks(section, SEEDS)
    leaves = jax.tree.leaves(tasks.own)
    assert {leaf.shape[:2] for leaf in leaves} == {(3, 4)}
    rows = np.concatenate([leaf.reshape(3, -1) for leaf in leaves], axis=1)
    assert len(np.unique(rows, axis=0)) == 3
    shared = make_tasks(replace(section, drawing="shared"), SEEDS)
    assert shared.own is None
    assert [leaf.shape for leaf in jax.tree.leaves(shared.params)] == [
        leaf.shape[1:] for leaf in leaves
    ]


@cache
def trained():
    """Two rounds of each of five games, and of the first again, of three seeds."""
    config = tiny_config(
        seeds=3, mixer="vdn", log_every=ROUND, env_steps=6 * 2 * ROUND, learning_starts=ROUND,
        buffer_size=14 * 6,
    )  # fmt: skip
    program = build(replace(config, env=GAMES, seed=SEEDS[0]))
    state, clock, replays = program.init(SEEDS), program.clock(), []
    while int(clock.rounds) < program.budget.rounds:
        state, clock, _ = program.chunk(state, clock)
        replays.append((int(clock.task), jax.device_get(state.replay)))
    return program, state, replays


def test_what_is_replayed_was_paid_by_the_seeds_own_game():
    program, _, replays = trained()
    own = payoffs(make_tasks(GAMES, SEEDS))
    assert program.chunk._cache_size() == 1
    assert [task for task, _ in replays] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    for number, (task, ring) in enumerate(replays):
        for s in range(3):
            of_seed = unpack(seed_of(ring, s))
            newest = slice(7 * (number % 12), 7 * (number % 12) + 7)
            paid = np.asarray(of_seed.reward)[:, newest][np.asarray(of_seed.valid)[:, newest]]
            game = own[s, task % 5]
            assert len(paid) and np.isin(paid, game.astype(np.float32)).all()
            assert not np.isin(paid, own[(s + 1) % 3, task % 5].astype(np.float32)[game > 0]).all()


def test_each_seed_is_evaluated_in_its_own_games_against_its_own_optimum(key):
    program, state, _ = trained()
    own = payoffs(make_tasks(GAMES, SEEDS))
    assert program.n_tasks == 5 and program.optimum.shape == (3, 5)
    tables = np.asarray(program.joint_values(state, key))
    for task in range(5):
        episodes = program.evaluate(state, jax.random.split(key, 3), task)
        for s in range(3):
            drawn = representable_matrices(5, 5, (9, SEEDS[s]))
            order = np.random.default_rng((9, SEEDS[s])).permutation(5)
            game = jax.tree.map(lambda leaf: leaf[order[task]], drawn.params)  # noqa: B023
            assert program.optimum[s, task] == best_return(game, 1)
            chosen = np.unravel_index(tables[s].argmax(), (5, 5))
            np.testing.assert_allclose(episodes.returns[s], own[s, task][chosen], rtol=1e-6)
