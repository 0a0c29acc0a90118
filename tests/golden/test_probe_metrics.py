"""The metrics of plasticity by hand and against brute force."""

import math

import numpy as np
import pytest

from knife_jax.diagnostics import metrics


def test_update_activity_by_hand():
    # mean 2, so RUA = 0, 0.2, 0.4, 0.45, 8.95 / 2 ...; median 0.9
    activity = np.array([0.0, 0.4, 0.8, 1.0, 1.8, 3.0, 7.0])
    got = metrics.update_activity(activity)
    assert got["ua_mean"] == pytest.approx(2.0) and got["ua_max"] == 7.0
    assert got["ua_p10"] == pytest.approx(0.24)  # 0.6 of the way from the first to the second
    assert got["rua_p10"] == pytest.approx(0.12)
    assert got["ua_zero_pct"] == pytest.approx(100 / 7)
    assert got["stagnant_pct"] == pytest.approx(200 / 7)  # 0 and 0.2
    assert got["volatile_pct"] == 0.0  # 3.5 at most
    assert got["stagnant_pct_by_median"] == pytest.approx(100 / 7)
    assert got["volatile_pct_by_median"] == pytest.approx(100 / 7)  # 7 times the median


def test_both_bounds_of_update_activity_are_strict():
    got = metrics.update_activity(np.array([0.25, 0.2] + [1.0] * 9 + [4.0, 4.1, 2.45]) / 1.0)
    # the sum is 20 over 14: in units of the median, 1, the bounds are met exactly
    assert got["stagnant_pct_by_median"] == pytest.approx(100 / 14)
    assert got["volatile_pct_by_median"] == pytest.approx(100 / 14)


def test_a_volatile_minority_makes_the_majority_look_stagnant():
    activity = np.array([1.0] * 19 + [100.0])
    got = metrics.update_activity(activity)
    assert (got["stagnant_pct"], got["stagnant_pct_by_median"]) == (95.0, 0.0)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_collapsed_layer_is_lost_as_a_whole(value):
    got = metrics.update_activity(np.full(7, value))
    assert got["stagnant_pct"] == got["stagnant_pct_by_median"] == 100.0
    assert got["ua_zero_pct"] == (100.0 if value == 0 else 0.0)
    assert metrics.activations(np.full((3, 7), value))["dormant_pct"] == 100.0


def test_activations_by_hand():
    # mean |h| per neuron: 0, 0.05, 0.9, 1, 1, 1, 1, 1, 1, 13.05; their mean is 2
    level = np.array([0.0, 0.05, 0.9, 1, 1, 1, 1, 1, 1, 13.05])
    h = np.stack([level * 2, np.zeros(10)])
    got = metrics.activations(h)
    assert got["activation_mean"] == pytest.approx(2.0)
    assert got["activation_max"] == pytest.approx(13.05)
    assert got["dormant_pct"] == 20.0
    assert got["dormant_025_pct"] == 20.0  # 0.05 / 2 is just at the bound, which counts
    assert got["overactive_pct"] == 10.0
    assert got["overactive_share"] == pytest.approx(13.05 / 20)
    assert got["dead_pct"] == 10.0
    assert got["zero_pct"] == pytest.approx(55.0)


def test_activations_against_a_loop():
    rng = np.random.default_rng(3)
    h = np.maximum(rng.normal(size=(31, 17)) - np.linspace(-2, 3, 17), 0)
    got = metrics.activations(h)
    levels = [sum(abs(h[m, i]) for m in range(31)) / 31 for i in range(17)]
    mean = sum(levels) / 17
    for name, bound in (("dormant_pct", 0.1), ("dormant_025_pct", 0.025)):
        assert got[name] == pytest.approx(100 / 17 * sum(x / mean <= bound for x in levels))
    loud = [x for x in levels if x / mean >= 3]
    assert got["overactive_pct"] == pytest.approx(100 / 17 * len(loud))
    assert got["overactive_share"] == pytest.approx(sum(loud) / sum(levels))
    assert got["dead_pct"] == pytest.approx(100 / 17 * sum(not h[:, i].any() for i in range(17)))


def test_no_row_is_no_number():
    assert all(math.isnan(value) for value in metrics.activations(np.zeros((0, 5))).values())
    assert math.isnan(metrics.ranks(np.zeros((0, 5)))["srank"])


@pytest.mark.parametrize("shape", [(31, 7), (7, 31)])
def test_singular_values(shape):
    matrix = np.random.default_rng(4).normal(size=shape)
    expected = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(metrics.singular_values(matrix), expected, rtol=1e-9)


def test_ranks_by_hand():
    # two equal directions and one of half their size: p = 0.4, 0.4, 0.2
    got = metrics.ranks(np.diag([2.0, 2.0, 1.0]))
    entropy = -(2 * 0.4 * math.log(0.4) + 0.2 * math.log(0.2))
    assert got["effective_rank"] == pytest.approx(math.exp(entropy))
    assert got["stable_rank"] == pytest.approx((4 + 4 + 1) / 4)
    assert got["srank"] == 3.0
    # 98.9 % and 99.1 % of the sum in the first
    assert metrics.ranks(np.diag([989.0, 11.0]))["srank"] == 2.0
    assert metrics.ranks(np.diag([991.0, 9.0]))["srank"] == 1.0


def test_ranks_of_equal_directions_are_their_number():
    q, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(23, 5)))
    got = metrics.ranks(q)
    np.testing.assert_allclose([got[n] for n in ("effective_rank", "stable_rank", "srank")], 5)


def test_ranks_of_what_has_none():
    assert set(metrics.ranks(np.zeros((5, 3))).values()) == {0.0}
    assert all(math.isnan(v) for v in metrics.ranks(np.full((5, 3), np.inf)).values())


def test_gradient_covariance_by_hand():
    # two equal gradients, one opposite, one orthogonal, one of length 0
    g = np.array([[3.0, 0], [1, 0], [-2, 0], [0, 5], [0, 0]])
    got = metrics.gradient_covariance(g @ g.T)
    # of 6 pairs: 1, -1, -1 and three times 0
    assert got["grad_cosine"] == pytest.approx(-1 / 6)
    assert got["grad_negative_pct"] == pytest.approx(100 / 3)
    # the eigenvalues of C are 3, 1, 0, 0
    assert got["grad_effective_rank"] == pytest.approx(
        math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    )


def test_gradient_covariance_of_one_direction():
    got = metrics.gradient_covariance(np.outer([1.0, 2.0, 4.0], [1.0, 2.0, 4.0]))
    assert got["grad_cosine"] == pytest.approx(1) and got["grad_effective_rank"] == pytest.approx(1)
    nothing = metrics.gradient_covariance(np.zeros((3, 3)))
    assert all(math.isnan(value) for value in nothing.values())


def test_conflict_by_hand():
    # neuron 0: both agents agree; 1: they cancel; 2: at a right angle; 3: no gradient
    agents = np.array([[[1.0, 0], [1, 0], [3, 0], [0, 0]], [[2, 0], [-1, 0], [0, 4], [0, 0]]])
    got = metrics.conflict(
        np.linalg.norm(agents.sum(0), axis=-1), np.linalg.norm(agents, axis=-1).sum(0)
    )
    assert got == pytest.approx((0 + 1 + 2 / 7) / 3)
    assert math.isnan(metrics.conflict(np.zeros(3), np.zeros(3)))


def test_revival_by_hand():
    # of 100 updates; window 10: neurons 0 and 1 are too young, 2 was never operated on
    age = np.array([3, 9, 100, 10, 50, 99, 40])
    activity = np.array([0.0, 0.0, 0.0, 1.0, 0.1, 1.0, 1.0])
    assert metrics.revival(activity, age, updates=100, window=10) == 75.0
    assert math.isnan(metrics.revival(activity, np.full(7, 100), updates=100, window=10))
