"""Interquartile means and their intervals: by hand, by brute force, and against rliable."""

import numpy as np
import pytest
from rliable import library, metrics

from knife_jax.report.stats import DRAWS, course, iqm, pooled, resample

SCORES = np.random.default_rng(5).uniform(size=(7, 5))


def test_the_middle_half_by_hand():
    assert iqm(np.array([0, 1, 2, 3, 4, 5, 6, 1000.0])) == 3.5
    assert iqm(np.array([[3, 1, 2, 50.0], [0, 0, 4, 8]])).tolist() == [2.5, 2]
    assert iqm(np.array([1.0, 5.0])) == 3


def test_it_is_that_of_rliable():
    assert pooled(SCORES).value == pytest.approx(metrics.aggregate_iqm(SCORES), abs=1e-12)
    np.random.seed(0)  # noqa: NPY002, rliable draws from the global generator
    _, theirs = library.get_interval_estimates(
        {"a": SCORES}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=2000
    )
    ours = pooled(SCORES)
    np.testing.assert_allclose([ours.low, ours.high], theirs["a"][:, 0], atol=0.012)
    assert 0.05 < ours.high - ours.low < 0.5


def test_each_task_draws_seeds_of_its_own_unless_seeds_come_whole():
    marked = np.arange(7)[:, None] + np.zeros(5)  # a score is the number of its seed
    apart, whole = resample(marked), resample(marked, whole_seeds=True)
    assert apart.shape == whole.shape == (DRAWS, 7, 5)
    assert (whole == whole[..., :1]).all() and not (apart == apart[..., :1]).all()
    np.testing.assert_array_equal(np.unique(apart), np.arange(7))
    columns = resample(np.zeros((7, 5)) + np.arange(5))
    np.testing.assert_array_equal(columns, np.broadcast_to(np.arange(5), columns.shape))


def test_tasks_of_one_seed_are_no_further_evidence_when_seeds_come_whole():
    """With equal scores in all tasks the interval is that of one task; stratified it is not."""
    one = SCORES[:4, :1]
    same = np.repeat(one, 5, axis=1)
    whole, alone, apart = pooled(same, whole_seeds=True), pooled(one), pooled(same)
    np.testing.assert_allclose(whole, alone)
    assert apart.high - apart.low < 0.7 * (alone.high - alone.low)


def test_pairs_of_seeds_are_drawn_together():
    shifted = pooled(SCORES + 0.25, SCORES)
    np.testing.assert_allclose(shifted, 0.25)
    noisy = pooled(SCORES + 0.25, SCORES[::-1])
    assert noisy.high - noisy.low > 0.05


def test_an_interval_can_be_repeated_and_tasks_have_their_own():
    assert pooled(SCORES) == pooled(SCORES)
    places, each = course(SCORES, most=9)
    assert places.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(each.value, [iqm(column) for column in SCORES.T])
    np.testing.assert_allclose(
        each.low[0], np.quantile(iqm(resample(SCORES[:, :1])[..., 0]), 0.025)
    )
    constant = course(np.ones((7, 3)) * [1, 2, 3], most=3)[1]
    np.testing.assert_array_equal(constant, [[1, 2, 3]] * 3)


def test_neighbouring_tasks_are_taken_together():
    places, estimate = course(SCORES, most=2)
    assert places.tolist() == [1, 3.5]
    assert estimate.value.tolist() == [pooled(SCORES[:, :3]).value, pooled(SCORES[:, 3:]).value]
