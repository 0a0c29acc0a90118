"""Targets and losses against hand numbers and a NumPy re-statement."""

import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.training.exploration import greedy_actions
from knife_jax.training.losses import masked_mean, td_loss
from knife_jax.training.targets import selector, take_action_values, td_lambda_targets

T, B = 11, 5


def returns_by_definition(reward, terminated, valid, next_value, gamma, lam):
    """The λ-return of every transition as the weighted sum of its n-step returns."""
    targets = np.zeros_like(reward)
    for b in range(reward.shape[1]):
        for t in range(reward.shape[0]):
            n_steps, total, discount, k = [], 0.0, 1.0, t
            while True:
                total += discount * reward[k, b]
                discount *= gamma
                alive = not terminated[k, b]
                n_steps.append(total + discount * alive * next_value[k, b])
                k += 1
                if not alive or k == reward.shape[0] or not valid[k, b]:
                    break
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
        ours = td_lambda_targets(
            *(jnp.asarray(x) for x in (reward, terminated, valid, value)), gamma=0.9, lam=lam
        )
        expected = returns_by_definition(reward, terminated, valid, value, 0.9, lam)
        np.testing.assert_allclose(
            np.where(valid, ours, 0), np.where(valid, expected, 0), rtol=2e-5, atol=1e-6
        )


def test_td_lambda_by_hand():
    """Three steps, truncated after the second: r = 1, 2, 4; V = 10, 20, 30; γ = λ = 1/2."""
    ours = td_lambda_targets(
        jnp.array([[1.0], [2.0], [0.0], [4.0]]),
        jnp.array([[False], [False], [False], [True]]),
        jnp.array([[True], [True], [False], [True]]),
        jnp.array([[10.0], [20.0], [99.0], [30.0]]),
        gamma=0.5,
        lam=0.5,
    )
    # transition 1 leads into the last row: 2 + 20 / 2 = 12; transition 3 terminates: 4
    # transition 0: 1 + (10 / 2 + 12 / 2) / 2 = 6.5
    np.testing.assert_allclose(ours[jnp.array([0, 1, 3]), 0], [6.5, 12.0, 4.0])


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
    ours = td_lambda_targets(
        *(jnp.asarray(x)[:, None] for x in (reward, terminated, valid, value)),
        gamma=gamma,
        lam=lam,
    )
    np.testing.assert_allclose(ours[: end + 1, 0], expected[: end + 1], rtol=1e-5)


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


def test_td_loss_by_hand():
    """Errors 1, 2 and 3, of which the last does not count."""
    q_tot, target = jnp.array([[1.0], [2.0], [3.0]]), jnp.zeros((3, 1))
    assert td_loss(q_tot, target, jnp.array([[True], [True], [False]])) == 2.5
