"""What every plasticity method must keep, with every optimiser, on agents and mixer at once.

The methods are the files of ``configs/plasticity``, made eager so that they find somebody to
operate on. Gradients and optimisers are compiled once per kind of network; surgery runs operation
by operation.
"""

import dataclasses
import functools
import operator
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import yaml
from ladder.environments import MEMORY
from tiny import tiny_config, untrained

from knife_jax.builders.networks import make_networks
from knife_jax.builders.plasticity import make_plasticity
from knife_jax.builders.program import build_in
from knife_jax.cli import compose, options
from knife_jax.clock import Clock
from knife_jax.config.methods import PLASTICITIES
from knife_jax.envs.base import vectorise
from knife_jax.nets.wiring import layer, put, relu_groups
from knife_jax.plasticity.apply import operate_if_due
from knife_jax.plasticity.methods import METHODS
from knife_jax.training.learner import make_learner
from knife_jax.training.targets import td_lambda_targets
from knife_jax.types import Patient, Trajectory, batch_axes

pytestmark = pytest.mark.xdist_group("plasticity")

TIMED = ("obs", "state", "avail_actions", "first", "action", "reward", "terminated", "valid")
WINDOW, T, B = 3, 5, 7
SPEC = MEMORY.env.spec
FILES = {file.stem: file for file in options("plasticity")}
NAMES = [*FILES]
EAGER = {
    "knife": {"threshold": 0.9, "slots": 1},
    "redo": {"threshold": 0.9},
    "reverse_redo": {"threshold": 1.1},
    "pruning": {"threshold": 0.9},
    "reborn": {"alpha": 0.9, "beta": 1.1},
    "regrama": {"threshold": 0.9},
    "cbp": {"rate": 0.3, "maturity": WINDOW - 1},
    "snr": {"limit": 1},
}
OPTIMISERS = {
    "adam": optax.adam(3e-3),
    # every kind of state that an optimiser keeps of a weight, also twice
    "chain": optax.chain(
        optax.clip_by_global_norm(0.01), optax.scale_by_rms(), optax.scale_by_radam(),
        optax.trace(0.9), optax.add_decayed_weights(0.1), optax.scale(-3e-3),
    ),
}  # fmt: skip
LATE = Clock(*(jnp.asarray(10**9),) * len(Clock._fields))
DEAD = 2
"""neurons of each hidden layer that never fire"""
HELD = ("l2_task", "ewc", "mas")
"""no surgery, but the part in the chain follows the networks: one of the optimisers is enough"""
CHAINED = ("l2_init", "nap", *HELD)
"""part of the optimiser's chain; before surgery all others learn alike in equal networks"""
NETWORK_ONLY = ("none", "layer_norm", "wider")
"""without surgery or a part in the optimiser: one of the optimisers is enough"""


def fields(name):
    """What a file sets, over the one that it is made of; Hydra takes a tenth of a second each."""
    own = yaml.safe_load(FILES[name].read_text())
    bases = [fields(base) for base in own.pop("defaults", ()) if base != "_self_"]
    return functools.reduce(operator.or_, [*bases, own.get("plasticity", own)])


@cache
def section(name):
    made = PLASTICITIES[fields(name)["method"]](**fields(name))
    changes = dict(EAGER.get(made.method, {}))
    if hasattr(made, "window"):
        changes["window"] = WINDOW
    return dataclasses.replace(made, **changes)


@cache
def method_of(name):
    """The method, its learner without an optimiser, and its wiring."""
    config = tiny_config(plasticity=dataclasses.asdict(section(name)))
    networks = make_networks(config, SPEC)
    wiring = networks.wiring()
    return make_plasticity(section(name), wiring), wiring, network(networks)


@cache
def network(networks):
    """Compiled gradients with all statistics, values and slopes of one kind of network."""
    agent, mixer = networks.agent, networks.mixer
    wiring = networks.wiring()
    learner = make_learner(
        SPEC, networks, relu_groups(wiring), optax.identity(), gamma=0.9,
        returns=partial(td_lambda_targets, lam=0.0), double_q=True, target_period=1000, tau=1.0,
        needs=("outgoing", "sensitivity"),
    )  # fmt: skip

    @jax.jit
    def gradients(online, target, batch):
        return learner.gradient(online, target, batch)[:2]

    @jax.jit
    def values(online, batch):
        return learner.values(online, batch)

    @jax.jit
    def slopes(online, q, state):
        parts = {name: tree["mixer"] for name, tree in online.items() if "mixer" in tree}
        return jax.grad(lambda q: jnp.sum(mixer.apply(parts, q, state)))(q)

    @cache
    def begin():
        """Some neurons never fire."""
        online = untrained(lambda: learner.init(jax.random.key(1)).online)
        params = online["params"]
        for group in relu_groups(wiring):
            leaves = layer(params, group)
            bias = np.where(np.arange(group.width) < DEAD, np.float32(-50), leaves["bias"])
            params = put(params, group.path, {**leaves, "bias": jnp.asarray(bias)})
        online = {**online, "params": params}
        return Patient(online, online, None)

    return begin, gradients, values, slopes, partial(make_batch, hidden_dim=agent.hidden_dim)


@cache
def make_batch(seed, hidden_dim):
    keys = iter(jax.random.split(jax.random.key(seed), 9))
    n, a = SPEC.n_agents, SPEC.n_actions
    return Trajectory(
        obs=jax.random.normal(next(keys), (T + 1, B, n, SPEC.obs_size)),
        state=jax.random.normal(next(keys), (T + 1, B, SPEC.state_size)),
        avail_actions=jnp.ones((T + 1, B, n, a), bool),
        first=jax.random.bernoulli(next(keys), 0.2, (T + 1, B)),
        action=jax.random.randint(next(keys), (T, B, n), 0, a),
        reward=jax.random.normal(next(keys), (T, B)),
        terminated=jax.random.bernoulli(next(keys), 0.2, (T, B)),
        valid=jax.random.bernoulli(next(keys), 0.9, (T, B)),
        carry=jnp.zeros((B, n, hidden_dim)),
        last_action=jnp.full((B, n), -1),
    )


@cache
def update_of(name, optimiser):
    """Compiled step of the method's optimiser."""
    return update_with(method_of(name)[0].extras.optimiser(OPTIMISERS[optimiser]))


@cache
def update_with(tx):
    """One for all methods that leave the optimiser as it is."""

    @jax.jit
    def update(grads, opt_state, params):
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return update


def learn(name, optimiser, patient, times):
    """Gradient steps and their neuron statistics. The target is the online network of before."""
    _, _, (_, gradients, _, _, batch) = method_of(name)
    seen, before = [], patient.online
    update = update_of(name, optimiser)
    for seed in range(times):
        grads, stats = gradients(patient.online, patient.target, batch(seed))
        params = patient.online["params"]
        assert jax.tree.structure(grads) == jax.tree.structure(params)
        params, opt_state = update(grads, patient.opt_state, params)
        online = {**patient.online, "params": params}
        patient, seen = patient._replace(online=online, opt_state=opt_state), [*seen, stats]
    return patient._replace(target=before), seen


@cache
def learnt(name, optimiser):
    """A patient after some learning, and the statistics of their neurons."""
    method, _, (begin, *_) = method_of(name)
    patient = begin()
    params = patient.online["params"]
    tx = method.extras.optimiser(OPTIMISERS[optimiser])
    patient = patient._replace(opt_state=tx.init(params))
    return learn(name, optimiser, patient, WINDOW)


@cache
def life(name, optimiser):
    """The patient, its measured state, and both after surgery."""
    method, _, network = method_of(name)
    alike = [n for n in NAMES if n not in CHAINED and method_of(n)[2] is network]
    patient, seen = learnt(name if name in CHAINED else alike[0], optimiser)
    state, clock = method.init(patient.online), Clock.zero()
    for stats in seen:
        clock = clock._replace(updates=clock.updates + 1)
        stats = stats.replace(importance=jax.tree.map(jnp.square, patient.online["params"]))
        state = method.measure(state, stats, clock)
    return patient, state, surgery_of(name)(patient, state, jax.random.key(2))


@cache
def surgery_of(name):
    """Operation by operation, but for a method whose operations no other has."""
    method, _, _ = method_of(name)
    return jax.jit(method.operate) if method.claims.continual else method.operate


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def nearly(one, other):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), one, other)


def kinds(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)


OTHERS = ("active", "dormant", "gradient", "random")
SELECTIONS = tuple(n for n in NAMES if n.startswith("knife_") and n.endswith(OTHERS))
"""the rewrite of another method on other neurons: one of the optimisers is enough"""

REPEATED = tuple(n for n in NAMES if n.startswith("knife_recycle_"))
"""a rewrite and a selection that other names have in other pairs"""

TRIED = [n for n in NAMES if n not in REPEATED]
each = pytest.mark.parametrize("name", TRIED)
every = pytest.mark.parametrize(
    ("name", "optimiser"),
    [
        (name, optimiser)
        for optimiser in OPTIMISERS
        for name in TRIED
        if optimiser == "adam" or name not in NETWORK_ONLY + SELECTIONS + HELD
    ],
)


def test_the_tables_agree():
    assert PLASTICITIES.keys() == METHODS.keys() == {section(name).method for name in NAMES}
    assert compose(["plasticity=knife_active"]).plasticity == PLASTICITIES["knife"](
        **fields("knife_active")
    )


@every
def test_surgery_keeps_what_it_must(name, optimiser):
    method, _, (_, _, values, slopes, batch) = method_of(name)
    patient, state, (operated, after, report) = life(name, optimiser)
    assert kinds(operated) == kinds(patient) and kinds(after) == kinds(state)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((operated, after)))
    assert (report.units_operated > 0) == (method.trigger(LATE) > 0)

    old, new = (values(p.online, batch(0)) for p in (patient, operated))
    if method.claims.preserves == "outputs":
        equal = nearly if section(name).networks().own_outgoing else same
        equal(old, new)
        equal(*(values(p.target, batch(0)) for p in (patient, operated)))
        same(np.argmax(old.agents, -1), np.argmax(new.agents, -1))
    if method.claims.preserves == "greedy":
        same(old.agents, new.agents)
    # the neurons of snr are silent before and after
    if method.claims.preserves != "outputs" and name != "snr":
        assert np.max(np.abs(old.q_tot - new.q_tot)) > 0

    # the optimiser leaves what is frozen alone, and the mixer stays monotone
    trained, _ = learn(name, optimiser, operated, 2)
    same(operated.online.get("grafts", {}), trained.online.get("grafts", {}))
    assert not any("kept_kernel" in str(path) for path, _ in leaves(operated.opt_state))
    for online in (operated.online, trained.online):
        slope = slopes(online, 3 * batch(1).obs[..., 0], 3 * batch(1).state)
        assert np.all(np.asarray(slope) >= 0) and np.any(np.asarray(slope) > 0)


def leaves(tree):
    """((words of the path), leaf) of every leaf."""
    return [
        (tuple(str(getattr(k, "key", getattr(k, "name", ""))) for k in path), np.asarray(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


@every
def test_moments_are_fresh_where_neurons_are_and_only_there(name, optimiser):
    method, wiring, _ = method_of(name)
    patient, _, (operated, _, _) = life(name, optimiser)
    if method.claims.moments == "kept":
        for (where, old), (_, new) in zip(
            leaves(patient.opt_state), leaves(operated.opt_state), strict=True
        ):
            assert np.array_equal(new, old) or {"anchor", "importance"} & {*where}
        return
    rows = {(*r, "kernel") for g in relu_groups(wiring) for r in g.readers if "reset" not in name}
    next_biases = {(*r, "bias") for g in relu_groups(wiring) for r in g.readers}
    params = zip(leaves(patient.online["params"]), leaves(operated.online["params"]), strict=True)
    states = list(zip(leaves(patient.opt_state), leaves(operated.opt_state), strict=True))
    for (path, then), (_, now) in params:
        if method.extras.needs == ("outgoing",) and path in next_biases:
            for (where, old), (_, new) in states:
                if where[-len(path) :] == path:
                    np.testing.assert_array_equal(new, old)
            continue
        axis = -2 if path in rows else -1
        others = tuple(i for i in range(then.ndim) if i != then.ndim + axis)
        restarted = method.claims.moments == "restarted"
        touched = np.any(then != now, axis=others) | restarted
        for (where, old), (_, new) in states:
            if where[-len(path) :] != path or {"initial", "norm"} & {*where}:
                continue
            old, new = np.moveaxis(old, axis, -1), np.moveaxis(new, axis, -1)
            if restarted or "nu" not in where:
                np.testing.assert_array_equal(new[..., touched], 0)
            else:
                rest = old if touched.all() else old[..., ~touched]
                mean = np.broadcast_to(rest.mean(-1, keepdims=True), new.shape)
                np.testing.assert_allclose(new[..., touched], mean[..., touched], rtol=1e-4)
            np.testing.assert_array_equal(new[..., ~touched], old[..., ~touched])


@each
def test_surgery_stays_a_branch_under_the_seed_vmap_and_needs_one_trace(name):
    method, _, _ = method_of(name)
    patient, state, _ = life(name, "adam")

    def step(patient, state, before, after, key):
        return operate_if_due(method, patient, state, before, after, key)[:2]

    seeds = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), (patient, state))
    clock, keys = Clock.zero(), jax.random.split(jax.random.key(0), 2)
    many = jax.vmap(step, in_axes=(0, 0, None, None, 0))
    jaxpr, shapes = jax.make_jaxpr(many, return_shape=True)(*seeds, clock, clock, keys)
    assert "cond" in [eqn.primitive.name for eqn in jaxpr.eqns]
    assert jax.tree.map(lambda s: (s.shape, s.dtype), shapes) == jax.tree.map(
        lambda s: (s.shape, s.dtype), seeds
    )


def test_sensitivity_is_the_gradient_of_the_pre_activations():
    """With a single row it is that of the bias, |∂L/∂b_i|; the agents' rows here are four."""
    _, wiring, (begin, gradients, _, _, batch) = method_of("regrama")
    whole = batch(3)
    row = jax.tree.map(lambda x, b: jnp.take(x, jnp.arange(1), axis=b), whole, batch_axes(whole))
    rows = ("obs", "state", "avail_actions", "first")
    row = row.replace(**{n: getattr(row, n)[: 2 if n in rows else 1] for n in TIMED})
    row = row.replace(valid=jnp.ones((1, 1), bool))
    begun = begin()
    grads, stats = gradients(begun.online, begun.target, row)
    assert sum(float(jnp.sum(felt)) for felt in stats.sensitivity.values()) > 0
    for group in relu_groups(wiring):
        bias, felt = np.abs(layer(grads, group)["bias"]), np.asarray(stats.sensitivity[group.name])
        if group.network == "mixer":
            np.testing.assert_allclose(felt, bias, rtol=1e-4, atol=1e-7)
        else:
            assert np.all(4 * felt >= bias * 0.999) and np.all(felt[:DEAD] == 0)


@each
def test_no_neuron_selected_is_the_identity(name):
    """Before the first measurement no neuron is mature, so methods that measure select none."""
    method, _, _ = method_of(name)
    patient, _, (_, _, report) = life(name, "adam")
    begun = method.init(patient.online)
    operated, _, none = surgery_of(name)(patient, begun, jax.random.key(3))
    if hasattr(section(name), "window") or method.claims.continual:
        assert none.units_operated == 0
        same(patient, operated)
    else:
        assert none.units_operated == report.units_operated


@each
def test_surgery_goes_on_after_saving_and_restoring(name):
    patient, state, operated = life(name, "adam")
    # dictionaries come back sorted
    flat, tree = jax.tree.flatten((patient, state))
    restored = jax.tree.unflatten(tree, [jax.device_put(np.array(leaf)) for leaf in flat])
    same(operated, surgery_of(name)(*restored, jax.random.key(2)))
    assert isinstance(restored[0], Patient)


def test_a_method_that_acts_at_every_update_is_logged_where_it_did_something():
    cbp = {"name": "cbp", "method": "cbp", "rate": 0.05, "maturity": 5}
    program = build_in(
        partial(vectorise, MEMORY.env), tiny_config(mixer="vdn", seeds=2, plasticity=cbp)
    )
    state, _, metrics = program.chunk(program.init((0, 1)), program.clock())
    seen = jax.tree.map(np.asarray, metrics["surgery"])
    np.testing.assert_array_equal(seen["fired"], seen["units_operated"] > 0)
    assert np.all(seen["fired"].any(1)) and not np.any(seen["fired"].all(1))
    assert np.all(np.isnan(seen["churn_max"][seen["fired"]])) and np.all(state.finite)
    # five neurons in a hundred and update: 40 mature ones owe 2 an update
    updates = int(np.max(seen["updates"]))
    assert np.all(seen["units_operated"].sum(1) <= 0.05 * 40 * updates)
    assert np.all(seen["units_operated"].sum(1) > 0.05 * 40 * updates / 10)
