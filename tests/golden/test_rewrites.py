"""Meters and rewrites against independent restatements in NumPy, on a plain two-layer network."""

from collections import Counter
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import untrained

from knife_jax.clock import Clock, every_updates
from knife_jax.mixers.base import MixerOptions
from knife_jax.mixers.qmix import QMixer
from knife_jax.nets.initialisers import INITS
from knife_jax.nets.wiring import NeuronGroup, check, relu_groups
from knife_jax.plasticity import methods
from knife_jax.plasticity.base import NeuronStats
from knife_jax.plasticity.edits import absorb
from knife_jax.plasticity.moments import restart, seed_moments
from knife_jax.plasticity.per_update import Gaps, Utility, arrivals, own_limits
from knife_jax.plasticity.reborn import pair
from knife_jax.plasticity.regularise import fixed_norms, toward_initial
from knife_jax.plasticity.rewrite import graft, prune, recycle
from knife_jax.types import Patient

I, W, O, ROWS = 5, 13, 3, 29
COLUMNS = INITS["torch"](1.0).columns
GROUP = NeuronGroup("net/hidden", W, COLUMNS, ("net/out", "net/other"))
WIRING = (GROUP,)
ALWAYS = every_updates(1)
RECYCLE = jax.jit(recycle(WIRING).apply)


def params_of(rng, scale=1.0):
    def dense(i, o):
        kernel, bias = rng.normal(size=(i, o)) * scale, rng.normal(size=o) * scale
        drawn = {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
        return jax.device_put(drawn)

    return {"net": {"hidden": dense(I, W), "out": dense(W, O), "other": dense(W, 2)}}


@pytest.fixture
def patient():
    rng = np.random.default_rng(3)
    online, target = {"params": params_of(rng)}, {"params": params_of(rng)}
    tx = optax.adam(1e-2)
    params = online["params"]
    grads = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), params)
    learn = jax.jit(lambda grads, params: tx.update(grads, tx.init(params), params)[1])
    return Patient(online, target, learn(grads, params))


def forward(variables, x):
    """The outputs of both readers, in NumPy."""
    net = jax.tree.map(np.asarray, variables["params"]["net"])
    h = np.maximum(x @ net["hidden"]["kernel"] + net["hidden"]["bias"], 0)
    return [h @ net[o]["kernel"] + net[o]["bias"] for o in ("out", "other")], h


def inputs():
    return np.random.default_rng(5).normal(size=(ROWS, I)).astype(np.float32)


def stats_of(activation, **others):
    named = {name: {GROUP.name: jnp.asarray(value)} for name, value in others.items()}
    blank = {GROUP.name: jnp.ones(W)}
    return NeuronStats(**{"gradient": blank, "weight": blank, **named}, activation={
        GROUP.name: jnp.asarray(activation)
    })  # fmt: skip


def operated(method, patient, *stats, key=0):
    state, clock, measure = method.init(patient.online), Clock.zero(), jax.jit(method.measure)
    for seen in stats:
        clock = clock._replace(updates=clock.updates + 1)
        state = measure(state, seen, clock)
    return jax.jit(method.operate)(patient, state, jax.random.key(key))


def net(p):
    return jax.tree.map(np.asarray, p.online["params"]["net"])


CHOSEN = np.arange(W) % 4 == 1


def test_recycled_neurons_by_hand(patient):
    after = RECYCLE(patient, {GROUP.name: jnp.asarray(CHOSEN)}, jax.random.key(1))
    for then, now in ((patient.online, after.online), (patient.target, after.target)):
        old, new = (jax.tree.map(np.asarray, v["params"]["net"]) for v in (then, now))
        np.testing.assert_array_equal(new["hidden"]["bias"][CHOSEN], 0)
        np.testing.assert_array_equal(new["out"]["kernel"][CHOSEN], 0)
        np.testing.assert_array_equal(new["other"]["kernel"][CHOSEN], 0)
        for name, axis in (("hidden", 1), ("out", 0), ("other", 0)):
            kept = np.compress(~CHOSEN, new[name]["kernel"], axis)
            np.testing.assert_array_equal(kept, np.compress(~CHOSEN, old[name]["kernel"], axis))
        np.testing.assert_array_equal(new["out"]["bias"], old["out"]["bias"])
        assert np.all(np.abs(new["hidden"]["kernel"][:, CHOSEN]) <= 1 / np.sqrt(I))
    fresh = [
        v["params"]["net"]["hidden"]["kernel"][:, CHOSEN] for v in (after.online, after.target)
    ]
    np.testing.assert_array_equal(*fresh)


def test_absorbing_and_recycling_keeps_the_mean_output(patient):
    """CBP's correction: the next bias gets v_i times the neuron's mean activation."""
    (out, other), h = forward(patient.online, inputs())
    mean = {GROUP.name: jnp.asarray(h.mean(0))}
    chosen = {GROUP.name: jnp.asarray(CHOSEN)}
    after = jax.jit(partial(absorb, WIRING))(patient, chosen, mean)
    expected = (
        net(patient)["out"]["bias"] + h.mean(0)[CHOSEN] @ net(patient)["out"]["kernel"][CHOSEN]
    )
    np.testing.assert_allclose(net(after)["out"]["bias"], expected, rtol=1e-5)
    after = RECYCLE(after, chosen, jax.random.key(1))
    for then, now in zip((out, other), forward(after.online, inputs())[0], strict=True):
        np.testing.assert_allclose(now.mean(0), then.mean(0), rtol=1e-4, atol=1e-4)
        assert np.abs(now - then).max() > 0.1


def test_redo_takes_the_dormant(patient):
    activation = np.linspace(0, 2.4, W).astype(np.float32)
    dormant = activation / activation.mean() <= 0.3
    method = methods.redo(WIRING, when=ALWAYS, threshold=0.3, window=2)
    # dormant on average over the window, not on its last step
    after, _, report = operated(method, patient, stats_of(0 * activation), stats_of(2 * activation))
    assert int(report.units_operated) == dormant.sum() == 2
    changed = np.any(net(after)["hidden"]["kernel"] != net(patient)["hidden"]["kernel"], axis=0)
    np.testing.assert_array_equal(changed, dormant)
    reverse = methods.reverse_redo(WIRING, when=ALWAYS, threshold=1.8, window=1)
    _, _, report = operated(reverse, patient, stats_of(activation))
    assert int(report.units_operated) == (activation / activation.mean() >= 1.8).sum() == 2


def test_regrama_takes_those_without_gradient(patient):
    felt = np.linspace(0.001, 1.0, W).astype(np.float32)
    method = methods.regrama(WIRING, when=ALWAYS, threshold=0.2, window=1)
    _, _, report = operated(method, patient, stats_of(np.ones(W), sensitivity=felt))
    assert int(report.units_operated) == (felt / felt.mean() <= 0.2).sum() == 2


def test_pruned_neurons_never_come_back(patient):
    chosen = {GROUP.name: jnp.asarray(CHOSEN)}
    after = jax.jit(prune(WIRING).apply)(patient, chosen, jax.random.key(1))
    np.testing.assert_array_equal(prune(WIRING).operable(after)[GROUP.name], ~CHOSEN)
    (kept, _), h = forward(after.online, inputs())
    np.testing.assert_array_equal(h[:, CHOSEN], 0)
    old, h = forward(patient.online, inputs())
    lost = h[:, CHOSEN] @ net(patient)["out"]["kernel"][CHOSEN]
    np.testing.assert_allclose(kept, old[0] - lost, rtol=1e-3, atol=1e-4)

    def loss(params):
        p = params["net"]
        h = jax.nn.relu(inputs() @ p["hidden"]["kernel"] + p["hidden"]["bias"])
        return jnp.sum(jnp.square(h @ p["out"]["kernel"] - 1))

    grads = jax.jit(jax.grad(loss))(after.online["params"])["net"]
    np.testing.assert_array_equal(grads["hidden"]["kernel"][:, CHOSEN], 0)
    np.testing.assert_array_equal(grads["out"]["kernel"][CHOSEN], 0)


@pytest.mark.parametrize("form", ["paper", "code"])
def test_reborn_keeps_what_donors_put_out(patient, form):
    """Dormant neurons are made exactly silent here, so that every output must stay."""
    dormant, donors = np.arange(W) < 6, np.array([8, 11])
    hidden = patient.online["params"]["net"]["hidden"]
    hidden["bias"] = jnp.where(jnp.asarray(dormant), -99.0, hidden["bias"])
    before, _ = forward(patient.online, inputs())
    activation = np.where(dormant, 0.0, 1.0)
    activation[donors] = 20.0
    method = methods.reborn(WIRING, when=ALWAYS, window=1, form=form)
    after, _, report = operated(method, patient, stats_of(activation.astype(np.float32)))
    now, _ = forward(after.online, inputs())
    for one, other in zip(before, now, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)
    old, new = net(patient)["hidden"]["kernel"], net(after)["hidden"]["kernel"]
    source = [
        next(
            (
                x
                for x in donors
                if np.linalg.matrix_rank(np.stack([new[:, i], old[:, x]]), 1e-4) < 2
            ),
            -1,
        )
        for i in range(6)
    ]
    ratio = np.array([new[0, i] / old[0, x] for i, x in enumerate(source) if x >= 0])
    low, high = (0.3, 0.8) if form == "code" else (0.5, 1.5)
    assert len(ratio) >= 4 and np.all((low <= ratio) & (ratio <= high))
    if form == "code":
        np.testing.assert_array_equal(new[:, donors], old[:, donors])
    assert max(source.count(x) for x in donors) <= 5
    untouched = ~dormant & ~np.isin(np.arange(W), donors)
    np.testing.assert_array_equal(new[:, untouched], old[:, untouched])
    alone = [i for i, x in enumerate(source) if x < 0]
    np.testing.assert_array_equal(net(after)["out"]["kernel"][alone], 0)
    assert int(report.units_operated) == 6 + len(set(source) - {-1})


@pytest.mark.parametrize("code", [False, True])
def test_pairs_are_two_to_five_per_donor(code):
    dormant, donor = jnp.arange(31) < 20, jnp.arange(31) >= 27
    pairs = jax.jit(jax.vmap(lambda k: pair(dormant, donor, k, code=code)))
    sizes = []
    for given in np.asarray(pairs(jax.random.split(jax.random.key(0), 50))):
        assert np.all(given[20:] == -1)
        served = given[:20][given[:20] >= 0]
        assert np.all((served >= 27) & (served < 31))
        sizes += list(np.bincount(served, minlength=31)[27:])
    assert (min(sizes), max(sizes)) == ((5, 5) if code else (2, 5))
    alike = jax.jit(partial(pair, code=code))
    few = np.asarray(alike(jnp.arange(31) < 3, donor, jax.random.key(1)))
    assert np.all(few[:3] >= 27) and np.all(few[3:] == -1)
    nothing = alike(dormant, jnp.zeros(31, bool), jax.random.key(1))
    assert np.all(np.asarray(nothing) == -1)


def released_law(n_dormant, n_donors):
    """Number of recipients per donor -> its probability, by the loop of ReBorn's ``reborn()``:
    every dormant neuron goes to one of the donors that have fewer than 5, all equally likely."""
    law = {(0,) * n_donors: Fraction(1)}
    for _ in range(n_dormant):
        after = Counter()
        for counts, p in law.items():
            free = [i for i, count in enumerate(counts) if count < 5]
            for i in free:
                after[(*counts[:i], counts[i] + 1, *counts[i + 1 :])] += p / len(free)
            if not free:
                after[counts] += p
        law = dict(after)
    return law


@pytest.mark.parametrize(("n_dormant", "n_donors"), [(4, 2), (7, 2), (5, 3), (12, 2)])
def test_pairs_of_the_released_code_have_its_law(n_dormant, n_donors):
    law, n = released_law(n_dormant, n_donors), 20_000
    assert sum(law.values()) == 1
    if (n_dormant, n_donors) == (4, 2):
        assert law[4, 0] + law[0, 4] == Fraction(1, 8)
    dormant, donor = jnp.arange(17) < n_dormant, jnp.arange(17) >= 17 - n_donors
    draw = jax.jit(jax.vmap(lambda k: pair(dormant, donor, k, code=True)))
    given = np.asarray(draw(jax.random.split(jax.random.key(0), n)))
    counts = np.stack([(given == 16 - i).sum(1) for i in range(n_donors)], 1)
    seen = Counter(map(tuple, counts.tolist()))
    assert seen.keys() <= law.keys() and seen.total() == n
    for sizes, p in law.items():
        mean, deviation = n * float(p), np.sqrt(n * float(p * (1 - p)))
        assert abs(seen[sizes] - mean) <= 5 * deviation + 1e-9, (sizes, seen[sizes], mean)
    # no dormant neuron is preferred
    served = (given[:, :n_dormant] >= 0).mean(0)
    expected = min(n_dormant, 5 * n_donors) / n_dormant
    np.testing.assert_allclose(served, expected, atol=5 * 0.5 / np.sqrt(n))


def test_the_released_reborn_leaves_all_but_the_layers_before_heads_alone():
    """Of QMIX's hypernetworks it scores those of the last mixing layer (ActivateLayer W and V), and
    it draws the biases of recycled neurons with their weights."""
    init = INITS["torch"](1.0)
    mixer = QMixer(MixerOptions(n_agents=2, n_actions=3, embed=7, hyper_hidden=11, init=init))
    given = jnp.zeros((1, 1, 2)), jnp.zeros((1, 1, I))
    variables = untrained(mixer.init, jax.random.key(0), *given)
    online = {"params": {"mixer": variables["params"]}}
    patient = Patient(online, online, optax.sgd(0.1).init(online["params"]))
    paper, code = (methods.reborn(mixer.wiring(), when=ALWAYS, window=1, form=form)
                   for form in ("paper", "code"))  # fmt: skip
    names = {f"mixer/{name}_hidden" for name in ("w1", "w2", "v")}
    assert paper.init(online).mean.tree.keys() == names
    assert code.init(online).mean.tree.keys() == names - {"mixer/w1_hidden"}
    groups = relu_groups(mixer.wiring())
    seen = {g.name: jnp.where(jnp.arange(g.width) < 3, 0.0, 1.0) for g in groups}
    state = code.measure(code.init(online), NeuronStats(seen, seen, seen), Clock.zero())
    after, _, report = jax.jit(code.operate)(patient, state, jax.random.key(2))
    old, new = (jax.tree.map(np.asarray, p.online["params"]["mixer"]) for p in (patient, after))
    assert report.units_operated == 6
    for name in old:
        changed = np.any(old[name]["kernel"] != new[name]["kernel"])
        assert changed == name.startswith(("w2", "v_")), name
    for name in ("w2_hidden", "v_hidden"):
        assert np.all(new[name]["bias"][:3] != 0) and np.all(new[name]["bias"] <= 1 / np.sqrt(I))
        np.testing.assert_array_equal(new[name]["bias"][3:], old[name]["bias"][3:])
    agent = (GROUP, NeuronGroup("net/out", O, COLUMNS, (), "gate"))
    with pytest.raises(ValueError, match="form=code is refused"):
        methods.reborn(agent, when=ALWAYS, form="code")


def test_cbp_replaces_the_least_useful_of_the_mature(patient):
    rng, rate, maturity, decay = np.random.default_rng(7), 0.0731, 2, 0.9
    method = methods.cbp(WIRING, rate=rate, maturity=maturity, decay=decay)
    measure, operate = jax.jit(method.measure), jax.jit(method.operate)
    state, clock = method.init(patient.online), Clock.zero()
    utility, mean, age, owed = np.zeros(W), np.zeros(W), np.zeros(W, int), 0.0
    replaced = 0
    for step in range(8):
        h, v = rng.gamma(2, size=W), rng.gamma(2, size=W)
        state = measure(state, stats_of(h, outgoing=v), clock)
        utility, mean, age = (
            decay * utility + (1 - decay) * h * v,
            decay * mean + (1 - decay) * h,
            age + 1,
        )
        seen = np.maximum(1 - decay**age, 1e-12)
        old = age > maturity
        owed += rate * old.sum()
        order = [i for i in np.argsort(utility / seen) if old[i]][: int(owed)]
        before, bias = net(patient), net(patient)["out"]["bias"]
        patient, state, report = operate(patient, state, jax.random.key(step))
        assert int(report.units_operated) == len(order)
        changed = np.any(net(patient)["hidden"]["kernel"] != before["hidden"]["kernel"], axis=0)
        np.testing.assert_array_equal(np.flatnonzero(changed), np.sort(order))
        moved = bias + (mean / seen)[order] @ before["out"]["kernel"][order]
        np.testing.assert_allclose(net(patient)["out"]["bias"], moved, rtol=1e-4, atol=1e-5)
        owed, replaced = owed - len(order), replaced + len(order)
        utility[order], mean[order], age[order] = 0, 0, 0
        np.testing.assert_allclose(state[GROUP.name].owed, owed, atol=1e-5)
    assert replaced > 3 and isinstance(state[GROUP.name], Utility)


def test_snr_limits_follow_the_neurons_own_gaps():
    longest, percentile = 20, 0.9
    histogram = np.zeros((4, longest), int)
    histogram[0, [2, 4]] = 8, 2  # 80 % of its gaps are 3 long, all at most 5
    histogram[1, 11] = 10  # longer than its limit
    histogram[3, [0, 1]] = 95, 5
    start = Gaps(jnp.zeros(4, jnp.int32), jnp.asarray(histogram), jnp.array([9, 9, 9, 1]))
    gaps = own_limits(start, percentile)
    # falls to the 90 % point; doubles; never paused: one update; doubles from 1
    np.testing.assert_array_equal(gaps.limit, [5, 18, 1, 2])
    assert not np.any(gaps.histogram)
    for limits in ([15, 15, 15, 15], [1, 1, 2, 20]):
        # never paused, whatever the limit: one update, and it stays (update_tau_ of the official
        # code: the argmax of 0/0 is length 1 in samples, then raised to one batch)
        gaps = own_limits(gaps._replace(limit=jnp.array(limits)), percentile)
        np.testing.assert_array_equal(gaps.limit, 1)
        np.testing.assert_array_equal(own_limits(gaps, percentile).limit, 1)
    ended = arrivals(
        gaps._replace(age=jnp.array([0, 1, 3, 99])), jnp.array([True, True, False, True])
    )
    np.testing.assert_array_equal(np.argwhere(ended), [[1, 0], [3, longest - 1]])


def test_snr_resets_after_its_limit_of_silent_updates(patient):
    method = methods.snr(WIRING, percentile=0.9, limit=3, refresh=100, longest=10)
    measure, operate = jax.jit(method.measure), jax.jit(method.operate)
    state, clock = method.init(patient.online), Clock.zero()
    silent, resets = np.arange(W) < 2, []
    for step in range(8):
        fires = np.where(silent, 0.0, 1.0)
        fires[1] = step % 2  # pauses, but never long enough
        clock = clock._replace(updates=clock.updates + 1)
        state = measure(state, stats_of(fires), clock)
        patient, state, report = operate(patient, state, jax.random.key(step))
        resets.append(int(report.units_operated))
    assert resets == [0, 0, 1, 0, 0, 1, 0, 0]
    gaps = state[GROUP.name]
    assert gaps.histogram[0, 2] == 2 and gaps.histogram[1, 0] == 4 and gaps.histogram[2:].sum() == 0


def test_shrink_and_perturb_and_marr_by_hand(patient):
    every_layer = tuple(
        NeuronGroup(f"net/{n}", w, COLUMNS, (), "linear")
        for n, w in (("hidden", W), ("out", O), ("other", 2))
    )
    shrunk, _, _ = operated(methods.shrink_perturb(every_layer, when=ALWAYS, share=0.8), patient)
    pulls = []
    for then, now in ((patient.online, shrunk.online), (patient.target, shrunk.target)):
        old, new = (np.asarray(v["params"]["net"]["out"]["kernel"]) for v in (then, now))
        pulls.append((new - 0.8 * old) / 0.2)
    np.testing.assert_allclose(*pulls, atol=1e-5)  # the same ψ for both networks
    assert np.all(np.abs(pulls[0]) <= 1 / np.sqrt(W) + 1e-5)
    marr = methods.marr(every_layer, when=ALWAYS, share=0.8)
    state = marr.init({"params": params_of(np.random.default_rng(8))})
    pulled, _, _ = marr.operate(patient, state, jax.random.key(0))
    for then, now in ((patient.online, pulled.online), (patient.target, pulled.target)):
        expected = jax.tree.map(lambda a, b: 0.8 * a + 0.2 * b, then["params"], state)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), now["params"], expected
        )


def test_l2_init_adds_the_gradient_of_the_squared_distance():
    params = params_of(np.random.default_rng(1))
    tx = toward_initial(0.25)
    state = tx.init(params)
    moved = jax.tree.map(lambda p: p + 2.0, params)
    zero = jax.tree.map(jnp.zeros_like, params)
    pulled, _ = tx.update(zero, state, moved)
    jax.tree.map(lambda g: np.testing.assert_allclose(g, 2 * 0.25 * 2.0, rtol=1e-5), pulled)


def test_projected_kernels_keep_their_norm():
    params = params_of(np.random.default_rng(1))
    tx = optax.chain(optax.sgd(0.3), fixed_norms())
    state, now = tx.init(params), params
    for _ in range(3):
        updates, state = tx.update(jax.tree.map(jnp.sign, params), state, now)
        now = optax.apply_updates(now, updates)
    for name in ("hidden", "out"):
        norm, kept = (np.linalg.norm(p["net"][name]["kernel"]) for p in (params, now))
        np.testing.assert_allclose(kept, norm, rtol=1e-5)
        assert np.abs(now["net"][name]["kernel"] - params["net"][name]["kernel"]).max() > 0.1
        bias = params["net"][name]["bias"]
        np.testing.assert_allclose(
            now["net"][name]["bias"], bias - 0.9 * np.sign(bias), rtol=1e-4, atol=1e-5
        )


TRANSFORMATIONS = {
    "adam": optax.adam(1.0),
    "radam": optax.radam(1.0),
    "rmsprop+momentum": optax.rmsprop(1.0, decay=0.99, momentum=0.5),
    "adamw": optax.adamw(1.0, weight_decay=0.0),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_first_steps_after_surgery_have_the_usual_size(name):
    """Gradients of constant size: a new neuron's steps must not exceed those of the others."""
    tx, path = TRANSFORMATIONS[name], ("layer", "kernel")
    params = {"layer": {"kernel": jnp.zeros((I, W))}}
    rng, mask = np.random.default_rng(0), np.arange(W) < 4

    @jax.jit
    def step(state, sign):
        return tx.update({"layer": {"kernel": 0.3 * sign}}, state, params)

    state = tx.init(params)
    signs = jnp.asarray(rng.choice([-1.0, 1.0], size=(I, W)), jnp.float32)
    for _ in range(600):
        updates, state = step(state, signs)
    usual = float(np.abs(updates["layer"]["kernel"]).max())
    state = seed_moments(state, path, jnp.asarray(mask), -1)
    for _ in range(12):
        updates, state = step(state, signs)
        size = np.abs(np.asarray(updates["layer"]["kernel"]))
        assert size[:, mask].max() <= 1.05 * usual
        np.testing.assert_allclose(size[:, ~mask], usual, rtol=0.02)


def test_moments_of_rows_and_unknown_moments():
    nu = np.arange(12.0).reshape(4, 3)
    params = {"layer": {"kernel": jnp.asarray(nu)}}
    state = optax.ScaleByAdamState(jnp.array(7), params, params)
    after = seed_moments(state, ("layer", "kernel"), jnp.array([True, False, False, True]), -2)
    np.testing.assert_array_equal(after.mu["layer"]["kernel"], np.r_[[[0] * 3], nu[1:3], [[0] * 3]])
    mean = nu[1:3].mean(0)
    np.testing.assert_allclose(after.nu["layer"]["kernel"], np.stack([mean, *nu[1:3], mean]))
    everyone = seed_moments(state, ("layer", "kernel"), jnp.ones(3, bool), -1)
    np.testing.assert_allclose(everyone.nu["layer"]["kernel"], np.repeat(nu.mean(1)[:, None], 3, 1))
    with pytest.raises(ValueError, match="e_g"):
        seed_moments(optax.adadelta(0.1).init(params), ("layer", "kernel"), jnp.ones(3, bool), -1)


def test_restarting_forgets_everything_but_the_schedule():
    params = {"a": jnp.ones(3)}
    tx = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.linear_schedule(1.0, 0.0, 10))
    )
    state = tx.init(params)
    for _ in range(5):
        _, state = tx.update(params, state, params)
    fresh = restart(state)
    np.testing.assert_array_equal(fresh[1][0].mu["a"], 0)
    assert (int(fresh[1][0].count), int(fresh[1][1].count)) == (0, 5)


def test_a_wrong_wiring_is_refused(patient):
    params = patient.online["params"]
    check(WIRING, params)
    with pytest.raises(ValueError, match="says 12 neurons"):
        check((GROUP._replace(width=12),), params)
    with pytest.raises(ValueError, match="should read them"):
        check((GROUP._replace(outgoing=("net/hidden",)),), params)
    bare = {"net": {**params["net"], "hidden": {"kernel": params["net"]["hidden"]["kernel"]}}}
    with pytest.raises(ValueError, match="needs a kernel and a bias"):
        check(WIRING, bare)
    chain = (GROUP._replace(outgoing=("net/out",)), NeuronGroup("net/out", O, COLUMNS))
    with pytest.raises(ValueError, match="into net/out, which is grafted"):
        graft(chain, 2, chain)
    with pytest.raises(ValueError, match="names every layer"):
        methods.reset_full(WIRING, when=ALWAYS).init(patient.online)
