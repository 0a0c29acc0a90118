"""KNIFE's options: when it measures, which neurons it takes, its controls."""

import dataclasses
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from ladder.environments import MEMORY
from tiny import tiny_config

from knife_jax.builders.networks import n_weights, widened
from knife_jax.builders.plasticity import make_plasticity
from knife_jax.clock import (
    Clock,
    after_task_switch,
    any_of,
    at_task_switch,
    crossed,
    every_updates,
    once,
    with_late_switches,
)
from knife_jax.config.grafting import KnifeConfig
from knife_jax.config.methods import PLASTICITIES
from knife_jax.nets.graft import GraftedDense, with_open_slots
from knife_jax.nets.gru import GRU
from knife_jax.nets.initialisers import INITS
from knife_jax.nets.target_network import update_target
from knife_jax.nets.wiring import NeuronGroup
from knife_jax.plasticity.base import NeuronStats
from knife_jax.plasticity.methods import METHODS, plasticity_injection
from knife_jax.plasticity.rewrite import graft
from knife_jax.types import Patient

INIT = INITS["torch"](1.0)
I, W, ROWS, WINDOW, TASK = 5, 13, 29, 3, 7
LAYER = GraftedDense(W, INIT, slots=2)
WIRING = (NeuronGroup("agent", W, INIT.columns),)


def clock_at(step, task_steps=TASK):
    """After ``step`` gradient steps, in tasks of equal length."""
    task = max(step - 1, 0) // task_steps
    now = {"updates": step, "task": task, "task_since": task * task_steps}
    return Clock.zero()._replace(**{k: jnp.asarray(v) for k, v in now.items()})


def test_gates_after_a_switch_and_once():
    trigger = after_task_switch(WINDOW)
    fires = [s for s in range(1, 22) if crossed(trigger, clock_at(s - 1), clock_at(s))]
    assert fires == [TASK + WINDOW, 2 * TASK + WINDOW]
    short = after_task_switch(99)  # tasks end before: as the next one begins
    assert [s for s in range(1, 22) if crossed(short, clock_at(s - 1), clock_at(s))] == [15]
    late = with_late_switches(any_of(at_task_switch, every_updates(4)), WINDOW)
    expected = any_of(trigger, every_updates(4))
    twice = with_late_switches(trigger, WINDOW)
    for step in range(22):
        assert late(clock_at(step)) == expected(clock_at(step))
    assert [s for s in range(1, 22) if crossed(twice, clock_at(s - 1), clock_at(s))] == fires
    at = [int(once(500)(Clock.zero()._replace(rounds=jnp.asarray(n)))) for n in (0, 499, 500, 9999)]
    assert at == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("running", [(TASK + 1, None), (2 * TASK + 1, None)]),
        ("pre_switch", [(TASK + 1, "first"), (2 * TASK + 1, "second")]),
        ("post_switch", [(TASK + WINDOW, "second"), (2 * TASK + WINDOW, "third")]),
    ],
)
def test_which_task_a_switch_is_measured(measure, expected):
    """Another neuron is stagnant in each task; the surgery must take that of the right one."""
    config = KnifeConfig(
        name="knife", window=WINDOW, threshold=0.3, measure=measure, at_task_switch=True
    )
    method = make_plasticity(config, WIRING)
    variables = LAYER.init(jax.random.key(0), jnp.zeros((1, I)))
    online = {name: {"agent": variables[name]} for name in ("params", "grafts")}
    patient = Patient(online, {}, optax.sgd(0.1).init(online["params"]))
    state, seen = method.init(online), []
    operate, measured = jax.jit(method.operate), jax.jit(method.measure)
    for step in range(1, 3 * TASK + 1):
        stagnant = (step - 1) // TASK
        gradient = jnp.ones(W).at[stagnant].set(0.0)
        ones = {"agent": jnp.ones(W)}
        clock = clock_at(step)
        state = measured(state, NeuronStats(ones, {"agent": gradient}, ones), clock)
        if crossed(method.trigger, clock_at(step - 1), clock):
            before = patient.online["grafts"]["agent"]["used"]
            patient, state, _ = operate(patient, state, jax.random.key(step))
            taken = np.flatnonzero(patient.online["grafts"]["agent"]["used"] - before)
            seen.append((step, list(taken)))
    number = {"first": [0], "second": [1], "third": [2]}
    assert [s for s, _ in seen] == [s for s, _ in expected]
    for (_, taken), (_, task) in zip(seen, expected, strict=True):
        assert task is None or taken == number[task]


@pytest.mark.parametrize("rewrite", ["graft", "recycle"])
@pytest.mark.parametrize("select", ["stagnant", "dormant", "gradient", "active"])
def test_which_neurons_are_operated_on_and_how_are_two_choices(select, rewrite):
    """As many as are stagnant, by a mean over the updates since the switch, restated in NumPy."""
    wiring = (
        WIRING[0]._replace(outgoing=("head",)),
        NeuronGroup("head", 2, INIT.columns, kind="linear"),
    )
    config = KnifeConfig(
        name="knife", window=WINDOW, threshold=0.6, cap=1.0, select=select, rewrite=rewrite
    )
    method = METHODS["knife"](wiring, when=at_task_switch, **config.arguments())
    variables = LAYER.init(jax.random.key(0), jnp.zeros((1, I)))
    head = {"kernel": jnp.ones((W, 2)), "bias": jnp.zeros(2)}
    online = {
        "params": {"agent": variables["params"], "head": head},
        "grafts": {"agent": variables["grafts"]},
    }
    patient = Patient(online, {}, optax.sgd(0.1).init(online["params"]))
    state, rng = method.init(online), np.random.default_rng(3)
    seen = rng.uniform(0.1, 2.0, (TASK + WINDOW, 3, W)).astype(np.float32)
    for step, (activation, gradient, weight) in enumerate(seen, 1):
        stats = NeuronStats({"agent": activation}, {"agent": gradient}, {"agent": weight})
        state = method.measure(state, jax.tree.map(jnp.asarray, stats), clock_at(step))
    activation, gradient, weight = np.moveaxis(seen[TASK:], 1, 0)
    activity = (gradient / weight).mean(0)
    stagnant = activity / activity.mean() < 0.6
    order = {"stagnant": activity, "dormant": activation.mean(0), "gradient": gradient.mean(0)}
    order["active"] = -order["dormant"]
    expected = np.sort(np.argsort(order[select])[: stagnant.sum()])
    assert 1 < len(expected) < W - 1
    operated, _, report = method.operate(patient, state, jax.random.key(1))
    used = operated.online["grafts"]["agent"]["used"]
    silenced = np.flatnonzero((operated.online["params"]["head"]["kernel"] == 0).all(axis=1))
    assert int(report.units_operated) == len(expected)
    assert method.claims.preserves == ("outputs" if rewrite == "graft" else "nothing")
    np.testing.assert_array_equal(np.flatnonzero(used), expected if rewrite == "graft" else [])
    np.testing.assert_array_equal(silenced, expected if rewrite == "recycle" else [])


def test_without_task_switches_it_does_not_matter_when_knife_measures():
    """The library's default is the trainer's, and what it was for whoever has one task."""
    default = METHODS["knife"](WIRING, when=every_updates(4), window=WINDOW)
    running = METHODS["knife"](WIRING, when=every_updates(4), window=WINDOW, measure="running")
    made = LAYER.init(jax.random.key(0), jnp.zeros((1, I)))
    online = {name: {"agent": made[name]} for name in ("params", "grafts")}
    states = [method.init(online) for method in (default, running)]
    for step in range(1, 3 * TASK):
        clock = clock_at(step, task_steps=10**6)
        ones, drawn = {"agent": jnp.ones(W)}, jax.random.uniform(jax.random.key(step), (W,))
        stats = NeuronStats(ones, {"agent": drawn}, ones)
        pairs = zip((default, running), states, strict=True)
        states = [method.measure(state, stats, clock) for method, state in pairs]
        chex.assert_trees_all_equal(*states)
        assert default.trigger(clock) == running.trigger(clock) == step // 4


def test_plasticity_injection_is_the_graft_of_everyone():
    """h(x) + h'(x) - h''(x) with h and h'' frozen, in NumPy (Nikishin et al. 2023, eq. 2)."""
    layer = GraftedDense(W, INIT, slots=1)
    variables = layer.init(jax.random.key(0), jnp.zeros((1, I)))
    online = {name: {"net": variables[name]} for name in ("params", "grafts")}
    patient = Patient(online, {}, optax.adam(0.1).init(online["params"]))
    method = plasticity_injection((NeuronGroup("net", W, INIT.columns),), when=once(500))
    after, _, report = method.operate(patient, method.init(online), jax.random.key(1))
    assert int(report.units_operated) == W
    x = np.asarray(jax.random.normal(jax.random.key(2), (ROWS, I)))
    trained = jax.tree.map(lambda leaf: leaf + 0.1, after.online["params"])

    def relu(layer):
        return np.maximum(x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)

    old, fresh, now = (relu(p["net"]) for p in (online["params"], after.online["params"], trained))
    assert np.abs(old - fresh).max() > 0.1
    for params, expected in ((after.online["params"], old), (trained, old + now - fresh)):
        grafted = {"params": params["net"], "grafts": after.online["grafts"]["net"]}
        got = layer.apply(with_open_slots(grafted, 1), jnp.asarray(x))
        np.testing.assert_allclose(got, expected, atol=1e-5)
    again, _, report = method.operate(after, method.init(online), jax.random.key(3))
    assert int(report.units_operated) == 0
    jax.tree.map(np.testing.assert_array_equal, after, again)


def test_injecting_into_a_linear_layer_would_gain_nothing():
    """The gradient of W' in (W + W' - W'')x is that of W, whatever W' is: why heads are left."""
    keys = jax.random.split(jax.random.key(0), 4)
    x, y = jax.random.normal(keys[0], (ROWS, I)), jax.random.normal(keys[1], (ROWS, 3))
    w, fresh = jax.random.normal(keys[2], (I, 3)), jax.random.normal(keys[3], (I, 3))
    plain = jax.grad(lambda v: jnp.mean((x @ v - y) ** 2))(w)
    injected = jax.grad(lambda v: jnp.mean((x @ w + x @ v - x @ fresh - y) ** 2))(fresh)
    np.testing.assert_allclose(plain, injected, rtol=1e-4, atol=1e-5)


def test_the_wider_control_has_as_many_weights_as_knife():
    slots = 3
    wider = tiny_config(plasticity={"name": "wider", "method": "wider", "slots": slots})
    knife = tiny_config(plasticity={"name": "knife", "method": "knife", "slots": slots})
    plain, spec = tiny_config(), MEMORY.env.spec
    made = widened(wider, spec)
    goal = n_weights(knife, spec)
    assert n_weights(plain, spec) < goal <= n_weights(made, spec) < 1.1 * goal
    less = dataclasses.replace(made.algo, hidden=made.algo.hidden - 1)
    assert n_weights(dataclasses.replace(made, algo=less), spec) < n_weights(made, spec)
    ratio = made.algo.hidden / plain.algo.hidden
    assert abs(made.algo.hyper_hidden - ratio * plain.algo.hyper_hidden) <= 0.5
    assert widened(plain, spec) == plain


def test_layer_norm_by_hand_with_and_without_grafts():
    x = jax.random.normal(jax.random.key(2), (ROWS, I))
    layer = GraftedDense(W, INIT, slots=2, layer_norm=True)
    variables = layer.init(jax.random.key(0), x)
    kernel, bias = (np.asarray(variables["params"][n]) for n in ("kernel", "bias"))
    z = np.asarray(x) @ kernel + bias
    expected = np.maximum((z - z.mean(1, keepdims=True)) / z.std(1, keepdims=True), 0)
    variables = {name: variables[name] for name in ("params", "grafts")}
    none = layer.apply(with_open_slots(variables, 0), x)
    np.testing.assert_allclose(none, expected, atol=1e-4)
    np.testing.assert_array_equal(none, layer.apply(variables, x))


def test_sections_are_their_factories_arguments():
    """What a section has beyond name, method, scope and schedule, the factory takes."""
    built_in = {"name", "method", "scope", "interval", "at_task_switch", "at"}
    for method, section in PLASTICITIES.items():
        if method == "none":
            continue
        fields = {field.name for field in dataclasses.fields(section)} - built_in
        taken = {*inspect.signature(METHODS[method]).parameters} - {"wiring", "when"}
        assert fields == taken, method
        assert section.__dataclass_fields__["method"].default == method


def make_mlp(slots):
    """A hidden layer with grafts that have outgoing weights of their own, and two readers."""
    layer = GraftedDense(W, INIT, slots, readers=(3, 2))

    def apply(variables, x):
        params = variables["params"]["net"]
        parts = {name: tree["net"]["hidden"] for name, tree in variables.items()}
        h, added = layer.apply(parts, x)
        return [
            h @ params[n]["kernel"] + params[n]["bias"] + more
            for n, more in zip(("out", "other"), added, strict=True)
        ]

    made = layer.init(jax.random.key(0), jnp.zeros((1, I)))
    keys = jax.random.split(jax.random.key(1), 2)
    dense = {
        n: {"kernel": jax.random.normal(k, (W, o)), "bias": jnp.ones(o)}
        for n, o, k in zip(("out", "other"), (3, 2), keys, strict=True)
    }
    params = {"net": {"hidden": made["params"], **dense}}
    wiring = (
        NeuronGroup("net/hidden", W, INIT.columns, ("net/out", "net/other")),
        NeuronGroup("net/out", 3, INIT.columns, (), "head"),
        NeuronGroup("net/other", 2, INIT.columns, (), "head"),
    )
    return wiring, apply, {"params": params, "grafts": {"net": {"hidden": made["grafts"]}}}


def test_own_outgoing_weights_by_hand():
    """h V + Σ (k V_k - m V_m) in NumPy, over two surgeries with training between them."""
    slots = 2
    wiring, apply, online = make_mlp(slots)
    rewrite = graft(wiring[:1], slots, wiring)
    patient = Patient(online, online, optax.adam(0.1).init(online["params"]))
    x = jax.random.normal(jax.random.key(2), (ROWS, I))
    first, second = np.arange(W) % 2 == 0, np.arange(W) % 3 == 0

    def branch(params, mask):
        """What the masked neurons of these parameters put out, for each reader."""
        net = jax.tree.map(np.asarray, params["net"])
        h = np.maximum(np.asarray(x) @ net["hidden"]["kernel"] + net["hidden"]["bias"], 0) * mask
        return [h @ net[n]["kernel"] for n in ("out", "other")]

    def bias(params):
        return [np.asarray(params["net"][n]["bias"]) for n in ("out", "other")]

    frozen = [np.zeros((ROWS, 3)), np.zeros((ROWS, 2))]
    for step, mask in enumerate((first, second)):
        before = patient
        patient = rewrite.apply(patient, {"net/hidden": jnp.asarray(mask)}, jax.random.key(step))
        old, new = before.online["params"], patient.online["params"]
        assert np.all(np.any(old["net"]["out"]["kernel"] != new["net"]["out"]["kernel"], 1) == mask)
        for reader, (then, now) in enumerate(
            zip(branch(old, mask), branch(new, mask), strict=True)
        ):
            frozen[reader] = frozen[reader] + then - now
        for then, now in zip(apply(before.online, x), apply(patient.online, x), strict=True):
            np.testing.assert_allclose(now, then, atol=1e-5)
        trained = jax.tree.map(lambda leaf: leaf * 1.1 + 0.1, new)
        patient = patient._replace(online={**patient.online, "params": trained})
        expected = zip(branch(trained, np.ones(W)), bias(trained), frozen, strict=True)
        for got, (h, b, rest) in zip(apply(patient.online, x), expected, strict=True):
            np.testing.assert_allclose(got, h + b + rest, rtol=1e-4, atol=1e-4)
    assert int(patient.online["grafts"]["net"]["hidden"]["used"].max()) == 2
    plain = zip(branch(online["params"], np.ones(W)), bias(online["params"]), strict=True)
    for got, (h, b) in zip(apply(online, x), plain, strict=True):
        np.testing.assert_allclose(got, h + b, atol=1e-4)


@pytest.mark.parametrize("biased", [False, True])
def test_the_gru_and_its_gradient_are_those_of_flax(biased):
    """Over time, with episodes that begin inside; an addition to gates is a pre-activation more."""
    t, b, n = 4, 3, 2
    keys = jax.random.split(jax.random.key(0), 6)
    h = jax.random.normal(keys[0], (b, n, W))
    x = jax.random.normal(keys[1], (t, b, n, I))
    first = jax.random.bernoulli(keys[2], 0.3, (t, b))
    added = tuple(jax.random.normal(keys[3], (3, t, b, n, W)) * biased)
    g = jax.random.normal(keys[4], (t, b, n, W))
    ours, cell = GRU(W, INIT), nn.GRUCell(W)
    variables = ours.init(keys[5], h, x, first)

    def expected(variables, h, x, added):
        p, states = variables["params"], []
        for row, begins, more in zip(x, first, zip(*added, strict=True), strict=True):
            h = jnp.where(begins[:, None, None], 0.0, h)

            # per row biases: the cell of each row has one of its own
            def one(h, row, more):
                gates = zip(("ir", "iz", "in"), more, strict=True)
                moved = {name: {**p[name], "bias": p[name]["bias"] + m} for name, m in gates}
                return cell.apply({"params": {**p, **moved}}, h, row)[0]

            h = jax.vmap(jax.vmap(one))(h, row, more)
            states.append(h)
        return jnp.stack(states)

    def got(variables, h, x, added):
        return ours.apply(variables, h, x, first, added if biased else ())

    @jax.jit
    def both(g, *given):
        return [(out, pull(g)) for out, pull in (jax.vjp(f, *given) for f in (got, expected))]

    (out, grads), (reference, wanted) = both(g, variables, h, x, added)
    chex.assert_trees_all_close(out, reference, atol=1e-5)
    if not biased:
        grads, wanted = grads[:3], wanted[:3]
    chex.assert_trees_all_close(grads, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tau", [0.5, 0.05])
def test_polyak_with_own_outgoing_weights_is_what_it_would_have_been(tau):
    wiring, apply, online = make_mlp(1)
    target = jax.tree.map(lambda leaf: leaf * 2, online)
    patient = Patient(online, target, optax.adam(0.1).init(online["params"]))
    chosen = {"net/hidden": jnp.arange(W) % 2 == 0}
    operated = graft(wiring[:1], 1, wiring).apply(patient, chosen, jax.random.key(1))
    x = jax.random.normal(jax.random.key(2), (ROWS, I))
    without = apply(update_target(patient.online, patient.target, tau), x)
    for got, expected in zip(
        apply(update_target(operated.online, operated.target, tau), x), without, strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
