"""Targets and losses against hand numbers and a NumPy re-statement."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.mixers.base import Goals, Joint, squared, take_action_values
from knife_jax.training.exploration import greedy_actions
from knife_jax.training.losses import masked_mean
from knife_jax.training.targets import (
    Transitions,
    n_step_targets,
    q_lambda_targets,
    selector,
    td_lambda_targets,
)

T, B = 11, 5
NOT_NEEDED = jnp.full((T, B), jnp.nan)


@cache
def of(returns, **options):
    """(rows, values of the actions taken) -> goals, compiled."""
    return jax.jit(lambda rows, taken: returns(rows, lambda: taken, **options))


def rows_of(*leaves):
    return Transitions(*map(jnp.asarray, leaves))


def n_step_returns(reward, terminated, valid, next_value, gamma, t, b):
    """The returns of one transition after 1, 2, … steps, as far as its episode goes."""
    returns, total, discount, k = [], 0.0, 1.0, t
    while True:
        total += discount * reward[k, b]
        discount *= gamma
        alive = not terminated[k, b]
        returns.append(total + discount * alive * next_value[k, b])
        k += 1
        if not alive or k == reward.shape[0] or not valid[k, b]:
            return returns


def returns_by_definition(reward, terminated, valid, next_value, gamma, lam):
    """The λ-return of every transition as the weighted sum of its n-step returns."""
    targets = np.zeros_like(reward)
    for t, b in np.ndindex(*reward.shape):
        n_steps = n_step_returns(reward, terminated, valid, next_value, gamma, t, b)
        weights = [(1 - lam) * lam**n for n in range(len(n_steps))]
        weights[-1] = lam ** (len(n_steps) - 1)
        targets[t, b] = np.dot(weights, n_steps)
    return targets


def random_rows(rng):
    last = rng.random((T, B)) < 0.25  # a row that ends an episode has no transition
    valid = ~last
    ends = np.concatenate([last[1:], rng.random((1, B)) < 0.5])  # transition into such a row
    terminated = valid & ends & (rng.random((T, B)) < 0.5)
    return rng.normal(size=(T, B)), terminated, valid, rng.normal(size=(T, B))


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_td_lambda_is_the_weighted_sum_of_n_step_returns(lam):
    rng = np.random.default_rng(3)
    for _ in range(7):
        reward, terminated, valid, value = random_rows(rng)
        rows = rows_of(reward, terminated, valid, value)
        ours = np.asarray(of(td_lambda_targets, gamma=0.9, lam=lam)(rows, NOT_NEEDED))
        expected = returns_by_definition(reward, terminated, valid, value, 0.9, lam)
        np.testing.assert_allclose(
            np.where(valid, ours, 0), np.where(valid, expected, 0), rtol=2e-5, atol=1e-6
        )


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_n_step_returns(n):
    rng = np.random.default_rng(11)
    for _ in range(7):
        rows = random_rows(rng)
        ours = np.asarray(of(n_step_targets, gamma=0.9, n=n)(rows_of(*rows), NOT_NEEDED))
        for t, b in np.argwhere(rows[2]):
            expected = n_step_returns(*rows, 0.9, t, b)
            np.testing.assert_allclose(
                ours[t, b], expected[min(n, len(expected)) - 1], rtol=2e-5, atol=1e-6
            )


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_q_lambda_is_the_sum_of_discounted_errors(lam):
    """Q_t + Σ_k (γλ)^k δ_{t+k}, δ_t = r_t + γ V_{t+1} - Q_t (Harutyunyan et al. 2016, eq. 3)."""
    rng, gamma = np.random.default_rng(13), 0.9
    for _ in range(7):
        reward, terminated, valid, value = random_rows(rng)
        taken = rng.normal(size=(T, B))
        delta = reward + gamma * ~terminated * value - taken
        rows = rows_of(reward, terminated, valid, value)
        ours = np.asarray(of(q_lambda_targets, gamma=gamma, lam=lam)(rows, jnp.asarray(taken)))
        for t, b in np.argwhere(valid):
            expected, k = taken[t, b], t
            while True:
                expected += (gamma * lam) ** (k - t) * delta[k, b]
                k += 1
                if terminated[k - 1, b] or k == T or not valid[k, b]:
                    break
            np.testing.assert_allclose(ours[t, b], expected, rtol=2e-5, atol=1e-6)


def test_q_lambda_by_hand():
    """Terminated after two steps: r = 1, 2; V_1 = 10, Q_0 = 5, Q_1 = 6; γ = λ = 1/2. The second
    action was not greedy. PyMARL2's form would add V_0 - Q_0 to the first goal and V_1 - Q_1 to the
    second, which is the reward and nothing else."""
    ours = q_lambda_targets(
        rows_of([[1.0], [2.0]], [[False], [True]], [[True], [True]], [[10.0], [99.0]]),
        lambda: jnp.array([[5.0], [6.0]]), gamma=0.5, lam=0.5,
    )  # fmt: skip
    np.testing.assert_allclose(ours[:, 0], [1 + 0.5 * (10 + 0.5 * (2 - 6)), 2])


def test_several_estimates_have_the_goals_of_each():
    rng = np.random.default_rng(17)
    rows = random_rows(rng)[:3]
    values, taken = rng.normal(size=(2, T, B, 3, 2)).astype(np.float32)
    for compiled in (
        of(td_lambda_targets, gamma=0.9, lam=0.0), of(td_lambda_targets, gamma=0.9, lam=0.6),
        of(q_lambda_targets, gamma=0.9, lam=0.6), of(n_step_targets, gamma=0.9, n=3),
    ):  # fmt: skip
        several = compiled(rows_of(*rows, values), taken)
        for i, j in np.ndindex(3, 2):
            alone = compiled(rows_of(*rows, values[..., i, j]), taken[..., i, j])
            np.testing.assert_allclose(several[..., i, j], alone, rtol=1e-5, atol=1e-6)


def test_td_lambda_by_hand():
    """Three steps, truncated after the second: r = 1, 2, 4; V = 10, 20, 30; γ = λ = 1/2."""
    rows = rows_of(
        [[1.0], [2.0], [0.0], [4.0]],
        [[False], [False], [False], [True]],
        [[True], [True], [False], [True]],
        [[10.0], [20.0], [99.0], [30.0]],
    )
    ours = of(td_lambda_targets, gamma=0.5, lam=0.5)(rows, NOT_NEEDED[:4, :1])
    # transition 1 leads into the last row: 2 + 20 / 2 = 12; transition 3 terminates: 4
    # transition 0: 1 + (10 / 2 + 12 / 2) / 2 = 6.5
    np.testing.assert_allclose(np.asarray(ours)[[0, 1, 3], 0], [6.5, 12.0, 4.0])


def test_pymarl2_recursion_on_terminating_episodes():
    """G_t = λγ G_{t+1} + mask (r_t + (1-λ) γ V_{t+1} (1 - term_t)), G_T = 0 after termination."""
    rng = np.random.default_rng(5)
    gamma, lam, end = 0.99, 0.6, 7
    reward, value = rng.normal(size=T), rng.normal(size=T)
    terminated = np.arange(T) == end
    valid = np.arange(T) <= end
    expected, ahead = np.zeros(T), 0.0
    for t in range(end, -1, -1):
        ahead = lam * gamma * ahead + reward[t] + (1 - lam) * gamma * value[t] * (t != end)
        expected[t] = ahead
    rows = rows_of(*(x[:, None] for x in (reward, terminated, valid, value)))
    ours = of(td_lambda_targets, gamma=gamma, lam=lam)(rows, NOT_NEEDED[:, :1])
    np.testing.assert_allclose(np.asarray(ours)[: end + 1, 0], expected[: end + 1], rtol=1e-5)


def test_masked_choices_by_hand():
    values = jnp.array([[5.0, 3.0, 4.0], [1.0, 9.0, 2.0]])
    avail_actions = jnp.array([[False, True, True], [True, True, False]])
    np.testing.assert_array_equal(greedy_actions(values, avail_actions), [2, 1])
    np.testing.assert_array_equal(take_action_values(values, jnp.array([0, 2])), [5.0, 2.0])


def test_masked_mean_of_an_empty_mask_is_zero():
    x = jnp.array([1.0, 2.0, jnp.nan])
    assert masked_mean(x, jnp.array([True, True, False])) == 1.5
    assert masked_mean(x, jnp.zeros(3, bool)) == 0.0


def test_double_q_by_hand():
    """The online network prefers action 0, which the target network puts at 1, not at its best."""
    online, target = jnp.array([[5.0, 3.0, 9.0]]), jnp.array([[1.0, 4.0, 8.0]])
    avail_actions = jnp.array([[True, True, False]])
    for double_q, expected in ((True, 1.0), (False, 4.0)):
        selecting = selector(online, target, double_q=double_q)
        greedy = greedy_actions(selecting, avail_actions)
        np.testing.assert_array_equal(take_action_values(target, greedy), [expected])


def test_the_squared_error_by_hand():
    """Errors 1, 2 and 3, of which the last does not count, beside errors 1 and 3 at each step."""
    q_tot, several = jnp.array([[1.0], [2.0], [3.0]]), jnp.tile(jnp.array([1.0, 3.0]), (3, 1, 1))
    estimates = {"q_tot": q_tot, "agents": several}
    goals = Goals({name: jnp.zeros_like(q) for name, q in estimates.items()}, {}, q_tot)
    zeros = jnp.zeros((3, 1, 1))
    joint = Joint({}, jnp.zeros((3, 1, 1), int), zeros, jnp.ones((3, 1, 1, 1), bool))
    errors = squared({"q_tot": q_tot}, goals, joint)
    assert masked_mean(errors, jnp.array([[True], [True], [False]])) == 2.5
    np.testing.assert_array_equal(squared(estimates, goals, joint), [[6.0], [9.0], [14.0]])
