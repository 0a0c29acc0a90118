"""The stagnation meter and the selection rules against NumPy and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.nets.initialisers import INITS
from knife_jax.nets.wiring import NeuronGroup
from knife_jax.plasticity.base import NeuronStats
from knife_jax.plasticity.meters import Ordered, relative, relative_update_activity
from knife_jax.plasticity.select import as_many, below, random_like
from knife_jax.plasticity.stats import neuron_stats, pct_below

WIDTHS = {"a": 7, "b/c": 11}
WIRING = tuple(NeuronGroup(n, w, INITS["torch"](1.0).columns) for n, w in WIDTHS.items())
WINDOW = 5


def stats_of(rng):
    return NeuronStats(
        activation={},
        gradient={n: jnp.asarray(rng.gamma(2.0, size=w)) for n, w in WIDTHS.items()},
        weight={n: jnp.asarray(rng.gamma(3.0, size=w)) for n, w in WIDTHS.items()},
    )


def test_neuron_stats_take_column_norms_without_bias(key):
    params = {"a": {"kernel": jax.random.normal(key, (3, 7)), "bias": jnp.full(7, 1e6)}}
    grads = {"a": {"kernel": jnp.ones((3, 7)) * 2, "bias": jnp.full(7, 1e6)}}
    measured = neuron_stats(WIRING[:1], params, grads, {})
    np.testing.assert_allclose(measured.gradient["a"], np.full(7, np.sqrt(12)), rtol=1e-6)
    np.testing.assert_allclose(
        measured.weight["a"], np.sqrt((np.asarray(params["a"]["kernel"]) ** 2).sum(0)), rtol=1e-6
    )


def test_outgoing_size_is_the_mean_over_all_readers(key):
    names, keys = ("a", "b", "c"), jax.random.split(key, 3)
    shapes = ((3, 7), (7, 2), (7, 5))
    params = {
        n: {"kernel": jax.random.normal(k, s), "bias": jnp.ones(s[1])}
        for n, k, s in zip(names, keys, shapes, strict=True)
    }
    group = NeuronGroup("a", 7, INITS["torch"](1.0).columns, outgoing=("b", "c"))
    measured = neuron_stats((group,), params, params, {}, needs=("outgoing",))
    rows = np.concatenate([np.asarray(params[n]["kernel"]) for n in ("b", "c")], axis=1)
    np.testing.assert_allclose(measured.outgoing["a"], np.abs(rows).mean(1), rtol=1e-6)
    assert neuron_stats((group,), params, params, {}).outgoing == {}


def test_running_mean_is_plain_over_one_window_then_exponential():
    meter, rng = relative_update_activity(WIRING, WINDOW), np.random.default_rng(1)
    state, seen = meter.init(), []
    for step in range(1, 13):
        stats = stats_of(rng)
        activity = np.asarray(stats.gradient["a"]) / np.asarray(stats.weight["a"])
        if step <= WINDOW:
            seen.append(activity)
            expected = np.mean(seen, axis=0)
        else:
            expected = expected + (activity - expected) / WINDOW
        state = meter.update(state, stats)
        np.testing.assert_allclose(state.mean.tree["a"], expected, rtol=1e-5)
        np.testing.assert_allclose(meter.scores(state)["a"], expected / expected.mean(), rtol=1e-5)
        assert bool(jnp.all(meter.mature(state)["a"])) == (step >= WINDOW)


def test_maturity_counts_steps_since_the_last_surgery():
    """A window of one's own if it is not given."""
    rng = np.random.default_rng(3)
    for clock_at_last_update, needed in ((None, WINDOW), (2, 2), (WINDOW + 3, WINDOW + 3)):
        meter = relative_update_activity(WIRING, WINDOW, clock_at_last_update)
        state = meter.init()
        for step in range(1, WINDOW + 5):
            state = meter.update(state, stats_of(rng))
            assert bool(meter.mature(state)["a"].all()) == (step >= needed)
        first = {n: jnp.arange(w) == 0 for n, w in WIDTHS.items()}
        state = meter.update(meter.forget(state, first), stats_of(rng))
        assert list(meter.mature(state)["a"][:2]) == [False, True]


def test_forgetting_restarts_only_the_operated_neurons():
    meter, rng = relative_update_activity(WIRING, WINDOW), np.random.default_rng(2)
    state = meter.init()
    for _ in range(WINDOW):
        state = meter.update(state, stats_of(rng))
    chosen = {"a": jnp.arange(7) < 2, "b/c": jnp.zeros(11, bool)}
    after = meter.forget(state, chosen)
    np.testing.assert_array_equal(meter.mature(after)["a"], np.arange(7) >= 2)
    np.testing.assert_array_equal(after.mean.tree["a"][2:], state.mean.tree["a"][2:])
    np.testing.assert_array_equal(after.mean.tree["b/c"], state.mean.tree["b/c"])
    again = meter.update(after, stats_of(rng))
    assert jnp.all(again.age.tree["a"][:2] == 1)


@pytest.mark.parametrize("dead", [0.0, np.nan, np.inf])
def test_a_layer_that_collapsed_as_a_whole_is_stagnant(dead):
    scores = relative({"alive": jnp.array([1.0, 3.0]), "lost": jnp.full(7, dead)})
    np.testing.assert_array_equal(scores["lost"], np.zeros(7))
    np.testing.assert_array_equal(scores["alive"], [0.5, 1.5])


def test_relative_by_hand():
    np.testing.assert_allclose(
        relative({"a": jnp.array([1.0, 2.0, 6.0])})["a"], [1 / 3, 2 / 3, 2.0]
    )


def test_pct_below_counts_over_all_layers():
    scores = {"a": jnp.array([0.1, 0.25, 1.0]), "b/c": jnp.array([0.2])}
    assert pct_below(scores, 0.25) == 50.0  # strictly below


def test_selection_by_hand(key):
    scores = {"a": jnp.array([0.2, 0.1, 0.24, 0.25, 0.0, 3.0, 0.05])}
    allowed = {"a": jnp.array([True, True, True, True, False, True, True])}
    chosen = below(0.25, cap=1.0)(scores, allowed, key)["a"]
    np.testing.assert_array_equal(chosen, [True, True, True, False, False, False, True])
    capped = below(0.25, cap=0.3)(scores, allowed, key)["a"]  # 0.3 of 7 neurons: 2
    np.testing.assert_array_equal(capped, [False, True, False, False, False, False, True])


@pytest.mark.parametrize(
    ("highest", "expected"),
    [(False, [0, 0, 0, 1, 0, 1, 1]), (True, [1, 1, 1, 0, 0, 0, 0])],
)
def test_as_many_are_taken_in_another_order(highest, expected, key):
    """Three are stagnant and allowed; the lowest of the order, 0.0, is not allowed."""
    scores = {"a": jnp.array([0.2, 0.1, 0.24, 0.25, 0.0, 3.0, 0.6])}
    order = {"a": jnp.array([9.0, 8.0, 7.0, 1.0, 0.0, 2.0, 3.0])}
    allowed = {"a": jnp.array([True, True, True, True, False, True, True])}
    rule = as_many(below(0.25, cap=0.5), highest=highest)
    chosen = rule(Ordered(scores, order), allowed, key)["a"]
    np.testing.assert_array_equal(chosen, np.array(expected, bool))


def test_random_control_takes_as_many_and_ignores_the_scores(key):
    scores = {"a": jnp.array([0.2, 0.1, 0.24, 0.25, 0.0, 3.0, 0.05])}
    allowed = {"a": jnp.array([True, True, True, True, False, True, True])}
    select = random_like(below(0.25, cap=0.5))
    picks = np.stack([select(scores, allowed, k)["a"] for k in jax.random.split(key, 400)])
    np.testing.assert_array_equal(picks.sum(1), 3)
    np.testing.assert_allclose(picks.mean(0)[np.asarray(allowed["a"])], 0.5, atol=0.1)
    assert not picks[:, 4].any()
