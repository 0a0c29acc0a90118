"""Interquartile means, their intervals and differences: by hand, by brute force, by rliable, and by
how often intervals contain what they are about."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import norm, t

from knife_jax.report.stats import (
    DRAWS,
    course,
    drawn,
    estimate,
    iqm,
    levels,
    over_runs,
    pooled,
    prediction,
    probability,
)

SCORES = np.random.default_rng(5).uniform(size=(7, 5))


def test_the_middle_half_by_hand():
    assert iqm(np.array([0, 1, 2, 3, 4, 5, 6, 1000.0])) == 3.5
    assert iqm(np.array([[3, 1, 2, 50.0], [0, 0, 4, 8]])).tolist() == [2.5, 2]
    assert iqm(np.array([1.0, 5.0])) == 3


def test_a_draw_has_each_seed_with_all_of_its_tasks_as_they_are():
    numbered = np.arange(35.0).reshape(7, 5)
    seen = []
    estimate(lambda x: seen.append(x) or x.mean(axis=(-2, -1)), numbered)
    one, draws = seen
    assert one is numbered and draws.shape == (DRAWS, 7, 5)
    np.testing.assert_array_equal(
        draws[..., 0] + np.arange(5)[:, None, None], draws.T.swapaxes(1, 2)
    )
    assert {*draws[..., 0].ravel()} == {0, 5, 10, 15, 20, 25, 30}
    np.testing.assert_array_equal(draws[..., 0] / 5, drawn(7))


def test_intervals_are_those_of_all_draws_there_are():
    """Three seeds have 27 draws; the interval of few seeds goes from the lowest to the highest."""
    values = SCORES[:3]
    every = [over_runs(values[list(draw)]) for draw in product(range(3), repeat=3)]
    found = pooled(values)
    assert found.value == pytest.approx(over_runs(values))
    assert (found.low, found.high) == pytest.approx((min(every), max(every)))
    assert {*np.unique(drawn(3) @ [9, 3, 1])} == {*range(27)}


def test_the_quantiles_of_few_seeds_lie_further_out():
    """Hesterberg (2015), §5.4: t(0.975; 9) is 2.2622, so that Φ(-2.2622 · sqrt(10/9)) = 0.00855."""
    assert levels(10) == pytest.approx((0.00855, 0.99145), abs=1e-5)
    assert levels(20) == pytest.approx((0.01588, 0.98412), abs=1e-5)
    assert levels(10**6) == pytest.approx((0.025, 0.975), abs=1e-5)
    assert levels(5)[0] == pytest.approx(norm.cdf(-np.sqrt(5 / 4) * t.ppf(0.975, 4)))


def test_of_one_task_it_is_that_of_rliable():
    from rliable import library, metrics

    assert pooled(SCORES).value == pytest.approx(metrics.aggregate_iqm(SCORES), abs=1e-12)
    one = SCORES[:, :1]
    np.random.seed(0)  # noqa: NPY002, rliable draws from the global generator
    low, high = levels(7)
    _, theirs = library.get_interval_estimates(
        {"a": one}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=2000,
        confidence_interval_size=high - low,
    )  # fmt: skip
    ours = pooled(one)
    np.testing.assert_allclose([ours.low, ours.high], theirs["a"][:, 0], atol=0.03)
    assert 0.2 < ours.high - ours.low < 0.8


def test_tasks_of_one_seed_are_no_further_evidence():
    """With equal scores in all tasks the interval is that of one task."""
    one = SCORES[:4, :1]
    np.testing.assert_allclose(pooled(np.repeat(one, 5, axis=1)), pooled(one))


def test_pairs_of_seeds_are_drawn_together():
    np.testing.assert_allclose(pooled(SCORES + 0.25, SCORES), 0.25)
    noisy = pooled(SCORES + 0.25, SCORES[::-1])
    assert noisy.high - noisy.low > 0.05
    draws = [over_runs(SCORES[d] + 0.25) - over_runs(SCORES[::-1][d]) for d in drawn(7)]
    np.testing.assert_allclose(noisy[1:], np.quantile(draws, levels(7)))


def test_the_probability_of_a_higher_score_by_hand():
    values, other = np.array([[3, 1, 1.0], [2, 0, 5]]), np.array([[2, 1, 2.0], [2, 0, 4]])
    found = probability(values, other)
    assert found.value == pytest.approx((1 + 0.5 + 0 + 0.5 + 0.5 + 1) / 6)
    assert (found.low, found.high) == pytest.approx((1.5 / 3, 2 / 3))  # of either seed alone


def test_one_more_seed_by_hand():
    """Figures 2, 4 and 6 have mean 4 and deviation 2; t(0.975; 2) is 4.3027."""
    values = np.array([[1, 3.0], [4, 4], [0, 12]])
    half = 4.302653 * 2 * np.sqrt(4 / 3)
    assert prediction(values) == pytest.approx((4 - half, 4 + half), abs=1e-5)
    assert prediction(values + 10, values) == pytest.approx((10, 10))


def test_a_single_seed_has_no_interval():
    assert np.isnan([*pooled(SCORES[:1])[1:], *prediction(SCORES[:1])]).all()
    assert pooled(SCORES[:1]).value == pytest.approx(over_runs(SCORES[:1]))
    assert np.isnan(course(SCORES[:1], most=9)[1].low).all()


def test_an_interval_can_be_repeated_and_tasks_have_their_own():
    assert pooled(SCORES) == pooled(SCORES)
    places, each = course(SCORES, most=9)
    assert places.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(each.value, [iqm(column) for column in SCORES.T])
    assert each.low[0] == pytest.approx(np.quantile(iqm(SCORES[drawn(7), 0]), levels(7)[0]))
    constant = course(np.ones((7, 3)) * [1, 2, 3], most=3)[1]
    np.testing.assert_array_equal(constant, [[1, 2, 3]] * 3)


def test_neighbouring_tasks_are_taken_together():
    places, estimate = course(SCORES, most=2)
    assert places.tolist() == [1, 3.5]
    assert estimate.value.tolist() == [pooled(SCORES[:, :3]).value, pooled(SCORES[:, 3:]).value]


def normal(between, within):
    """Studies whose seeds and tasks are normal, around 0."""
    return lambda rng, s: rng.normal(0, between, (s, 1)) + rng.normal(0, within, (s, 4))


def in_turn(rng, s):
    """Tasks whose scores follow those before, as in a sequence."""
    steps = rng.normal(size=(s, 4))
    for k in range(1, 4):
        steps[:, k] += 0.9 * steps[:, k - 1]
    return steps


def mastered(rng, s):
    """Scores in [0, 1]: a task is mastered or not, by some seeds more often."""
    done = rng.random((s, 4)) < rng.beta(4, 2, (s, 1))
    return np.where(done, 1.0, 0.8 * rng.random((s, 4)))


@pytest.mark.parametrize(
    ("draw", "s", "truth", "contained", "apart"),
    [
        (normal(1, 0.3), 10, 0.0, 189, 137),
        (normal(0, 1), 10, 0.0, 184, 183),
        (in_turn, 10, 0.0, 191, 145),
        (mastered, 20, over_runs(mastered(np.random.default_rng(0), 100_000)), 190, 176),
    ],
    ids=["seeds differ", "seeds are alike", "tasks depend on those before", "mastered or not"],
)
def test_intervals_contain_the_truth_in_19_of_20_studies(draw, s, truth, contained, apart):
    """Of 200 studies: 190, with a deviation of 3. ``apart`` is the count of
    the bootstrap that draws the seeds of each task apart."""
    rng, found = np.random.default_rng(0), np.zeros(2, int)
    drawn_apart = np.random.default_rng(0).integers(s, size=(DRAWS, s, 4))
    for values in (draw(rng, s) for _ in range(200)):
        ours = pooled(values)[1:]
        theirs = np.quantile(over_runs(values[drawn_apart, np.arange(4)]), (0.025, 0.975))
        found += [low <= truth <= high for low, high in (ours, theirs)]
    assert found.tolist() == [contained, apart]


def test_intervals_of_differences_contain_the_truth_and_are_those_of_pairs():
    """Drawings that differ by 1 and methods that differ by 0.1 ± 0.2 from drawing to drawing."""
    rng, contained, width = np.random.default_rng(0), 0, np.zeros(2)
    for _ in range(200):
        values = normal(1, 0.2)(rng, 10)
        less = values - 0.1 - normal(0.2, 0.2)(rng, 10)
        paired, alone = pooled(values, less), pooled(values)
        contained += paired.low <= 0.1 <= paired.high
        width += [found.high - found.low for found in (paired, alone)]
    assert contained == 193
    assert width[0] < width[1] / 3


@pytest.mark.parametrize(
    ("draw", "s", "contained"),
    [(normal(0.5, 1), 10, 471), (mastered, 10, 466), (mastered, 20, 458)],
)
def test_one_more_seed_lies_where_it_is_said_to(draw, s, contained):
    """In 95 % of 500 studies: 475, with a deviation of 5; scores at their upper end follow no
    normal law, and are a little less often where they are said to be."""
    rng, found = np.random.default_rng(0), 0
    for values in (draw(rng, s + 1) for _ in range(500)):
        low, high = prediction(values[:s])
        found += low <= iqm(values[s]) <= high
    assert found == contained


def test_what_a_second_draw_of_tasks_would_add():
    """Why there is none: 8 tasks of 100 seeds that are alike are 800 independent scores of variance
    1, and to draw the tasks again nearly doubles the variance of their mean."""
    values = np.random.default_rng(3).normal(size=(100, 8))
    values = (values - values.mean()) / values.std()
    rng = np.random.default_rng(0)
    seeds = rng.integers(100, size=(DRAWS, 100))
    again = rng.integers(8, size=(DRAWS, 100, 8))
    whole = values[seeds].mean(axis=(1, 2)).var()
    twice = values[seeds[..., None], again].mean(axis=(1, 2)).var()
    assert whole * 800 == pytest.approx(1, abs=0.15)
    assert twice * 800 == pytest.approx(1 + 7 / 8, abs=0.15)
