"""The instruments on a trained network: against the learner, against exact values, and pure."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ladder.environments import MEMORY
from tiny import KNIFE, seed_of, tiny_config

from knife_jax.builders.program import build_in
from knife_jax.builders.trainer import make_trainer
from knife_jax.config.run import ProbesConfig
from knife_jax.diagnostics import collect
from knife_jax.diagnostics.curvature import (
    column_norms,
    flatten,
    kernels,
    largest_eigenvalue,
    sum_over_agents,
    unflatten_like,
)
from knife_jax.diagnostics.regression import fit_random_functions
from knife_jax.envs.base import vectorise
from knife_jax.plasticity.meters import Running
from knife_jax.plasticity.stats import neuron_stats
from knife_jax.training.trainer import trajectories_added
from knife_jax.types import Flat

pytestmark = [
    pytest.mark.xdist_group("probe"),
    pytest.mark.usefixtures("networks_at_once"),
]
SEEDS, WINDOWS = 2, 11
ALL_WINDOWS = np.ones(WINDOWS, bool)
ALL_AGENTS = np.ones(MEMORY.env.spec.n_agents, np.float32)


@cache
def trained():
    probes = ProbesConfig(windows=13, functions=3, fit_steps=5)
    config = replace(tiny_config(seeds=SEEDS, plasticity=KNIFE), probes=probes)
    program = build_in(partial(vectorise, MEMORY.env), config)
    state, clock = program.init(range(SEEDS)), program.clock()
    for _ in range(2):
        state, clock, _ = program.chunk(state, clock)
    return make_trainer(config, vectorise(MEMORY.env, 7)), program, state, clock


@cache
def one_seed():
    """The first seed, a batch of it with targets, and the compiled gradient."""
    t, _, state, clock = trained()
    one = seed_of(state, 0)

    @jax.jit
    def look(one, clock, key):
        view = collect.look(t, WINDOWS, WINDOWS, one, clock, key)
        patient = one.patient
        grads, stats, metrics = t.learner.gradient(patient.online, patient.target, view.batch)
        updated = t.learner.step(patient, grads, clock)
        return view, updated, stats, metrics

    view, updated, stats, metrics = look(one, clock, jax.random.key(3))
    gradient = jax.jit(partial(collect.td_gradient, t))

    def at(params, windows=ALL_WINDOWS, heard=ALL_AGENTS):
        return gradient(one.patient, params, view.batch, view.goals, windows, heard)

    return one, view, at, updated, stats, metrics


def test_the_gradient_is_the_learners():
    one, _, at, _, stats, metrics = one_seed()
    t, params = trained()[0], one.patient.online["params"]
    grads = at(params)
    total = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(grads)))
    np.testing.assert_allclose(total, metrics["grad_norm"], rtol=1e-4)
    same = neuron_stats(t.learner.wiring, params, grads, {})
    for name, norms in same.gradient.items():
        np.testing.assert_allclose(norms, stats.gradient[name], rtol=1e-3, atol=1e-7)


def test_the_next_step_is_the_learners():
    one, _, at, updated, _, _ = one_seed()
    (t, _, _, clock), params = trained(), one.patient.online["params"]
    step = jax.jit(partial(collect.next_step, t.learner.optimiser))(one.patient, at(params), clock)
    moved = jax.tree.map(lambda new, old: new - old, updated.online["params"], params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-2, atol=1e-5), step, moved)


def test_windows_and_agents_add_up_to_the_whole_gradient():
    one, view, at, _, _, _ = one_seed()
    params = one.patient.online["params"]
    whole, n = at(params), MEMORY.env.spec.n_agents
    agents = [at(params, heard=heard)["agent"] for heard in np.eye(n, dtype=np.float32)]
    total = jax.tree.map(lambda *parts: sum(parts), *agents)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6), total, whole["agent"])
    assert not np.allclose(agents[0]["head"]["kernel"], agents[1]["head"]["kernel"])
    share = np.asarray(jnp.sum(view.batch.valid, 0) / jnp.sum(view.batch.valid))
    windows = [at(params, windows=one) for one in np.eye(WINDOWS, dtype=bool)]
    mean = jax.tree.map(
        lambda *parts: sum(s * part for s, part in zip(share, parts, strict=True)), *windows
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6), mean, whole)
    sums = sum_over_agents([kernels({"agent": {"head": grad["head"]}}) for grad in agents])
    expected = np.linalg.norm(whole["agent"]["head"]["kernel"], axis=0)
    np.testing.assert_allclose(sums["agent/head"].norm_of_sum, expected, rtol=1e-3)
    by_agent = [np.linalg.norm(grad["head"]["kernel"], axis=0) for grad in agents]
    np.testing.assert_allclose(sums["agent/head"].sum_of_norms, sum(by_agent), rtol=1e-3)


def test_features_are_what_the_layers_put_out():
    _, view, _, _, stats, _ = one_seed()
    assert set(view.features) == {*stats.activation, "agent/memory"}
    for name, level in stats.activation.items():
        # the learner averages the first 8 windows; take the same ones
        valid = np.asarray(view.batch.valid)
        h = np.asarray(view.features[name]).reshape(*valid.shape, -1, level.size)[:, :8]
        expected = np.abs(h[valid[:, :8]]).mean((0, 1))
        np.testing.assert_allclose(level, expected, rtol=1e-4, atol=1e-6)
        rows_each = MEMORY.env.spec.n_agents if name.startswith("agent") else 1
        assert view.counted[name].sum() == valid.sum() * rows_each


def test_each_gate_of_the_memory_is_a_layer_of_its_own():
    names = kernels(one_seed()[0].patient.online["params"])
    gates = {name.rpartition("/")[2] for name in names if name.startswith("agent/memory/")}
    assert gates == {"ir", "iz", "in", "hr", "hz", "hn"}


def test_columns_and_rows_of_parameters():
    tree = {"a": {"kernel": np.array([[[3.0, 1], [4, 0]]]), "bias": np.array([[7.0, 8]])}}
    np.testing.assert_array_equal(column_norms(kernels(tree)["a"]), [[5.0, 1.0]])
    rows = flatten(tree)
    assert sorted(rows[0]) == [0, 1, 3, 4, 7, 8]
    jax.tree.map(np.testing.assert_array_equal, unflatten_like(tree, rows), tree)


def test_the_largest_eigenvalue_of_a_known_hessian():
    """Two seeds with Hessians of eigenvalues (6, 1, 0.5) and (-4, 2, 1), off their axes."""
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    hessians = np.stack([q @ np.diag(e) @ q.T for e in ([6.0, 1, 0.5], [-4.0, 2, 1])])

    def gradient(params):
        return {"w": np.einsum("sij,sj->si", hessians, params["w"])}

    at = {"w": np.array([[0.3, -0.2, 0.1], [0.0, 1.0, 2.0]], np.float32)}
    found = largest_eigenvalue(gradient, at, 30, np.random.default_rng(1))
    np.testing.assert_allclose(found, [6.0, -4.0], rtol=1e-4)


def test_the_largest_eigenvalue_of_a_network_is_the_exact_one():
    one, view, at, _, _, _ = one_seed()
    params = one.patient.online["params"]
    head = params["mixer"]["v_out"]

    def with_head(head):
        return {**params, "mixer": {**params["mixer"], "v_out": head}}

    def gradient(tree):
        one_head = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), tree)
        grads = at(with_head(one_head))["mixer"]["v_out"]
        return jax.tree.map(lambda g: np.asarray(g)[None], grads)

    found = largest_eigenvalue(
        gradient, jax.tree.map(lambda leaf: np.asarray(leaf)[None], head), 30,
        np.random.default_rng(2),
    )  # fmt: skip
    # Q_tot is linear in this layer: the Hessian of the loss is 2 E[x x^T], x = (1, features)
    h = np.asarray(view.features["mixer/v_hidden"])[np.asarray(view.counted["mixer/v_hidden"])]
    x = np.concatenate([np.ones((len(h), 1)), h], axis=1)
    exact = np.linalg.eigvalsh(2 * x.T @ x / len(x))[-1]
    np.testing.assert_allclose(found[0], exact, rtol=1e-2)


def test_random_functions_are_fitted_as_far_as_the_network_can():
    """A linear network on two inputs fits the best line and no more."""
    x = jnp.array([-1.0, 0.0, 1.0, 2.0, 0.5])
    counted = jnp.array([True, True, True, True, False])

    def outputs(params):
        return params["w"] * x + params["b"]

    params = {"w": jnp.asarray(0.7), "b": jnp.asarray(-0.3)}
    random = {"w": jnp.array([0.123, 0.456]), "b": jnp.array([0.2, 0.9])}
    fit = fit_random_functions(outputs, params, random, optax.adam(0.05), counted, steps=600)
    xs = np.array([-1.0, 0, 1, 2])
    losses, variances = [], []
    for w, b in zip(random["w"], random["b"], strict=True):
        f = np.asarray(jnp.float32(w) * x + jnp.float32(b))[:4]
        g = np.mean(0.7 * xs - 0.3) + np.asarray(jnp.sin(jnp.float32(1e5) * f))
        line = np.polynomial.Polynomial.fit(xs, g, 1)(xs)
        losses.append(np.mean((g - line) ** 2))
        variances.append(np.var(g))
    np.testing.assert_allclose(fit.variance, np.mean(variances), rtol=1e-3)
    np.testing.assert_allclose(fit.loss, np.mean(losses), rtol=1e-2)
    none = fit_random_functions(outputs, params, random, optax.adam(0.05), counted, steps=0)
    assert none.loss > 2 * fit.loss


def test_the_numbers_of_a_probe():
    t, program, state, clock = trained()
    numbers = program.probe(state, clock)
    assert all(value.shape == (SEEDS,) for value in numbers.values())
    for name in ("agent/encoder", *(g.name for g in t.learner.wiring)):
        for metric in ("stagnant_pct", "running_stagnant_pct", "dormant_pct", "effective_rank",
                       "saturated_pct", "update_ratio", "ua_mean", "dead_pct"):  # fmt: skip
            assert np.all(np.isfinite(numbers[f"{name}/{metric}"])), (name, metric)
    assert {"hessian_max", "agent/plasticity", "mixer/fit_loss", "agent/memory/srank",
            "agent/head/conflict", "mixer/grad_cosine"} <= set(numbers)  # fmt: skip
    used = np.asarray(state.patient.online["grafts"]["agent"]["encoder"]["used"])
    np.testing.assert_allclose(numbers["agent/encoder/slots_used_mean"], used.mean(1))
    weight = np.asarray(state.patient.online["params"]["agent"]["head"]["kernel"])
    norm = np.sqrt((weight**2).sum((1, 2)))
    np.testing.assert_allclose(numbers["agent/head/weight_norm"], norm, rtol=1e-5)
    widths = {g.name: g.width for g in t.learner.wiring if g.name.startswith("mixer/")}
    pooled = sum(numbers[f"{n}/dormant_pct"] * w for n, w in widths.items()) / sum(widths.values())
    np.testing.assert_allclose(numbers["mixer/dormant_pct"], pooled)
    assert np.all(numbers["agent/encoder/running_stagnant_pct"] >= 0)
    assert numbers["hessian_max"][0] != numbers["hessian_max"][1]


def test_probing_changes_nothing_and_repeats_itself():
    _, program, state, clock = trained()
    before = jax.tree.map(np.asarray, (state.patient, state.plasticity))
    first, again = program.probe(state, clock), program.probe(state, clock)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    jax.tree.map(np.testing.assert_array_equal, before, (state.patient, state.plasticity))
    other = program.probe(state, clock._replace(rounds=clock.rounds + 1))
    assert other["hessian_max"][0] != first["hessian_max"][0]


def test_windows_come_from_the_replay():
    t, _, _, clock = trained()
    one, view, *_ = one_seed()
    added = int(trajectories_added(t, clock))
    ring = np.asarray(one.replay.obs).swapaxes(0, 1)[: min(added, len(one.replay.last_action))]
    for row in np.asarray(view.batch.obs).swapaxes(0, 1):
        assert np.any(np.all(ring == row, axis=(1, 2, 3)))


def test_the_age_of_a_neuron_is_that_of_its_last_operation():
    """ReDo's own meter forgets the neurons operated on, the log's meter beside it does not."""
    own, beside = (
        Running(Flat.of({"a": jnp.array(mean)}), Flat.of({"a": jnp.array(age)}))
        for mean, age in (([9.0, 9.0], [3, 70]), ([1.0, 2.0], [70, 70]))
    )
    found = collect.stagnation((own, beside))
    np.testing.assert_array_equal(found["a"].mean, [1.0, 2.0])
    np.testing.assert_array_equal(found["a"].age, [3, 70])
    assert collect.stagnation(()) == {}
