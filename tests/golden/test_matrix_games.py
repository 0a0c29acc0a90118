"""Matrix games: their optima by brute force or by hand, and every way through them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.config.scenarios import MATRIX_GAMES
from knife_jax.envs import matrix_games as games

BY_HAND = {
    "qtran": 8.0, "qplex_narrow": 10.4, "qplex_three_optima": 8.0, "pymarl2": 12.0,
    "qtran_two_states": 10.0, "two_step": 8.0, "mmdp": 100.0, "n_step": 13.0,
    "n_step_two_branches": 13.0,
}  # fmt: skip


def test_the_optima_are_those_of_the_papers():
    assert {name: games.best_return(*game) for name, game in games.TABLES.items()} == pytest.approx(
        BY_HAND
    )
    assert set(MATRIX_GAMES) == {*games.TABLES, *games.SQUEEZES}


def test_no_plan_of_joint_actions_beats_the_optimum():
    """All plans of three steps in the n-step game, played in the environment."""
    table = games.n_step(2)
    env = games.matrix_game(table, 3)
    moves = list(itertools.product((0, 1), repeat=2))
    plans = jnp.array(list(itertools.product(moves, repeat=3)))

    def play(plan, key):
        state, row = env.reset(key)
        total, alive = 0.0, True
        for action in plan:
            state, row = env.step(key, state, action)
            total += jnp.where(alive, row.reward, 0.0)
            alive &= ~row.last
        return total

    returns = jax.vmap(play, (0, None))(plans, jax.random.key(0))
    assert float(returns.max()) == games.best_return(table, 3) == 5.0
    best = plans[returns == 5.0].tolist()
    assert best == [[[0, 0], [0, 0], [1, 1]]]


def follow(table, limit, actions, start=0):
    env = games.matrix_game(table, limit)
    state, row = env.reset(jax.random.key(start))
    rows = [row]
    for action in actions:
        state, row = env.step(jax.random.key(0), state, jnp.array(action))
        rows.append(row)
        if row.last:
            break
    return rows


def test_two_steps_by_hand():
    *_, last = follow(*games.TABLES["two_step"], [(0, 1), (1, 0)])
    assert (float(last.reward), bool(last.terminated)) == (7.0, True)
    _, middle, last = follow(*games.TABLES["two_step"], [(1, 0), (1, 1)])
    assert middle.state.tolist() == [0, 0, 1] and not middle.last
    assert middle.obs.tolist() == [[0, 0, 1]] * 2 and float(middle.reward) == 0
    assert float(last.reward) == 8 and not last.state.any()


def test_the_endless_game_is_cut_and_not_terminated():
    rows = follow(*games.TABLES["mmdp"], [(0, 0)] * 200)
    assert len(rows) == 101 and rows[-1].truncated and not rows[-1].terminated
    assert sum(float(row.reward) for row in rows) == 100
    rows = follow(*games.TABLES["mmdp"], [(0, 0), (0, 1), (1, 1), (0, 0), (0, 0)])
    assert [float(row.reward) for row in rows] == [0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(("name", "paid"), [("n_step", 2), ("n_step_two_branches", 1)])
def test_branches_pay_for_repetition(name, paid):
    """Branch 1 is (0, 1): repeated once, then left."""
    rows = follow(*games.TABLES[name], [(0, 1), (0, 1), (0, 1), (1, 1)])
    rewards = [float(row.reward) for row in rows[1:]]
    assert rewards == ([0, 1, 1, 0] if paid == 2 else [0, 0]) and rows[-1].terminated


def test_both_states_of_a_drawn_matrix_are_seen(key):
    env = games.matrix_game(*games.TABLES["qtran_two_states"])
    _, rows = jax.vmap(env.reset)(jax.random.split(key, 2003))
    assert abs(float(rows.state[:, 0].mean()) - 0.5) < 0.05
    assert (rows.state.sum(1) == 1).all()
    paid = [
        float(follow(*games.TABLES["qtran_two_states"], [(2, 2)], start=s)[-1].reward)
        for s in range(8)
    ]
    assert set(paid) == {0.0, 10.0}


@pytest.mark.parametrize("name", games.SQUEEZES)
def test_the_squeeze_and_its_optimum(name, key):
    modes = games.SQUEEZES[name]
    amounts = games.draw_amounts(3)[:4]
    env = games.gaussian_squeeze(amounts, modes)
    levels = np.array(list(itertools.product(range(11), repeat=4)))
    state, _ = env.reset(key)
    _, rows = jax.jit(jax.vmap(env.step, (None, None, 0)))(key, state, levels)
    mean = (levels * amounts.astype(float)).mean(1)
    expected = sum(mean * np.exp(-((mean - mu) ** 2) / variance) for mu, variance in modes)
    np.testing.assert_allclose(rows.reward, expected, atol=1e-4)
    assert games.best_squeeze(amounts, modes) == pytest.approx(expected.max(), rel=1e-9)
    assert games.best_squeeze(games.draw_amounts(0), modes) == pytest.approx(8.008, abs=2e-3)
