"""KNIFE's surgery leaves every output as it is, to the last bit, and the frozen parts alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from knife_jax.nets.graft import GraftedDense, occupancy, with_open_slots
from knife_jax.nets.initialisers import INITS
from knife_jax.nets.target_network import update_target
from knife_jax.nets.wiring import NeuronGroup
from knife_jax.plasticity.rewrite import graft
from knife_jax.types import Patient

SLOTS, WIDTH, INPUTS, ROWS, SEEDS = 3, 17, 13, 29, 5
INIT = INITS["torch"](1.0)
LAYER = GraftedDense(WIDTH, INIT, SLOTS)
GROUP = NeuronGroup("layer", WIDTH, INIT.columns)
REWRITE = graft((GROUP,), SLOTS)
OPERATE = jax.jit(REWRITE.apply)
OPTIMISER = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2, weight_decay=1e-2))


@partial(jax.jit, static_argnames="dtype")
def make_patient(key, dtype=jnp.float32):
    variables = LAYER.init(key, jnp.zeros((ROWS, INPUTS)))
    online = {
        name: {"layer": jax.tree.map(cast(dtype), variables[name])} for name in ("params", "grafts")
    }
    return Patient(online, jax.tree.map(lambda x: x * 2, online), OPTIMISER.init(online["params"]))


def cast(dtype):
    return lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x


def output(variables, x, open_slots, layer=LAYER):
    variables = with_open_slots(variables, open_slots)
    return layer.apply({name: tree["layer"] for name, tree in variables.items()}, x)


def some(key, patient):
    chosen = jax.random.bernoulli(key, 0.6, (WIDTH,))
    return {"layer": chosen & REWRITE.operable(patient)["layer"]}


OPTIMISED = jax.jit(
    output, static_argnames="layer", compiler_options={"xla_backend_optimization_level": 3}
)
"""as users compile it, whatever the flags of the test run"""


@partial(jax.jit, static_argnames="layer")
def train(patient, x, open_slots, layer=LAYER):
    def loss(params):
        h = output({**patient.online, "params": params}, x, open_slots, layer)
        return jnp.mean(jnp.square(h - 1))

    grads = jax.grad(loss)(patient.online["params"])
    params = patient.online["params"]
    updates, opt_state = OPTIMISER.update(grads, patient.opt_state, params)
    online = {**patient.online, "params": optax.apply_updates(params, updates)}
    return patient._replace(online=online, opt_state=opt_state)


def life(key, dtype, layer):
    """Five surgeries with training between them; yields the state around each."""
    patient = make_patient(key, dtype)
    x = jax.random.normal(key, (ROWS, INPUTS)).astype(dtype)
    for i, k in enumerate(jax.random.split(key, 5)):
        open_slots = min(i + 1, SLOTS)
        before = OPTIMISED(patient.online, x, open_slots, layer=layer)
        operated = OPERATE(patient, some(k, patient), k)
        yield operated, before, OPTIMISED(operated.online, x, open_slots, layer=layer)
        patient = operated
        for _ in range(7):
            patient = train(patient, x, open_slots, layer)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_output_is_bitwise_unchanged(key, dtype, layer_norm):
    used = 0
    for operated, before, after in life(key, dtype, LAYER.clone(layer_norm=layer_norm)):
        assert before.dtype == dtype
        np.testing.assert_array_equal(before, after)
        used = int(occupancy(operated.online["grafts"], SLOTS).slots_used)
    assert used > SLOTS * WIDTH * 0.8


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_output_is_bitwise_unchanged_under_jit_and_vmap(key, dtype):
    keys = jax.random.split(key, SEEDS)
    patients = jax.vmap(partial(make_patient, dtype=dtype))(keys)
    x = jax.random.normal(key, (ROWS, INPUTS)).astype(dtype)
    apply = jax.jit(jax.vmap(output, in_axes=(0, None, None)))
    operate = jax.jit(jax.vmap(lambda p, k: REWRITE.apply(p, some(k, p), k)))
    learn = jax.vmap(train, in_axes=(0, None, None))
    for open_slots in (1, 2, 3):
        before = apply(patients.online, x, open_slots)
        patients = operate(patients, keys)
        np.testing.assert_array_equal(before, apply(patients.online, x, open_slots))
        patients = learn(patients, x, open_slots)


def test_target_output_is_unchanged_too(key):
    patient = make_patient(key)
    x = jax.random.normal(key, (ROWS, INPUTS))
    operated = OPERATE(patient, some(key, patient), key)
    np.testing.assert_array_equal(output(patient.target, x, 1), output(operated.target, x, 1))
    online, target = operated.online["grafts"]["layer"], operated.target["grafts"]["layer"]
    np.testing.assert_array_equal(online["comp_kernel"], target["comp_kernel"])
    assert not np.array_equal(online["kept_kernel"], target["kept_kernel"])


def test_unused_slots_change_nothing(key):
    """A layer without surgery is the plain layer, whatever number of slots is open."""
    patient = make_patient(key)
    x = jax.random.normal(key, (ROWS, INPUTS))
    plain = GraftedDense(WIDTH, INIT).apply({"params": patient.online["params"]["layer"]}, x)
    for open_slots in range(SLOTS + 1):
        np.testing.assert_array_equal(plain, output(patient.online, x, open_slots))


def test_frozen_leaves_are_bitwise_untouched_by_adamw_with_decay(key):
    patient = make_patient(key)
    x = jax.random.normal(key, (ROWS, INPUTS))
    patient = OPERATE(patient, some(key, patient), key)
    trained = patient
    for _ in range(50):
        trained = train(trained, x, 1)
    jax.tree.map(np.testing.assert_array_equal, patient.online["grafts"], trained.online["grafts"])
    now, then = (p.online["params"]["layer"]["kernel"] for p in (trained, patient))
    assert jnp.all(jnp.any(now != then, axis=0))


def test_empty_selection_is_the_identity(key):
    patient = make_patient(key)
    operated = OPERATE(patient, {"layer": jnp.zeros(WIDTH, bool)}, key)
    jax.tree.map(np.testing.assert_array_equal, patient, operated)


def test_only_the_chosen_neurons_are_touched_and_slots_fill_up(key):
    patient = make_patient(key)
    chosen = jnp.arange(WIDTH) % 2 == 0
    for times in range(1, SLOTS + 1):
        patient = OPERATE(patient, {"layer": chosen}, jax.random.fold_in(key, times))
        used = np.asarray(patient.online["grafts"]["layer"]["used"])
        np.testing.assert_array_equal(used, np.where(chosen, times, 0))
    np.testing.assert_array_equal(REWRITE.operable(patient)["layer"], ~chosen)
    counts = occupancy(patient.online["grafts"], SLOTS)
    assert counts.grafted_units == counts.saturated_units == 9
    assert counts.slots_used == 27


def test_moments_of_new_neurons(key):
    patient = make_patient(key)
    x = jax.random.normal(key, (ROWS, INPUTS))
    for _ in range(5):
        patient = train(patient, x, 0)
    chosen = jnp.arange(WIDTH) < 5
    adam = OPERATE(patient, {"layer": chosen}, key).opt_state[1][0]
    before = patient.opt_state[1][0]
    for name in ("kernel", "bias"):
        mu, nu = adam.mu["layer"][name], adam.nu["layer"][name]
        old_mu, old_nu = before.mu["layer"][name], before.nu["layer"][name]
        np.testing.assert_array_equal(mu[..., :5], 0)
        np.testing.assert_array_equal(mu[..., 5:], old_mu[..., 5:])
        np.testing.assert_array_equal(nu[..., 5:], old_nu[..., 5:])
        mean = np.broadcast_to(old_nu[..., 5:].mean(-1, keepdims=True), nu[..., :5].shape)
        np.testing.assert_allclose(nu[..., :5], mean, rtol=1e-5)
    assert adam.count == before.count


@pytest.mark.parametrize("tau", [0.5, 0.05])
def test_polyak_after_surgery_is_what_it_would_have_been_without(key, tau):
    patient = make_patient(key)
    x = jax.random.normal(key, (ROWS, INPUTS))
    operated = OPERATE(patient, some(key, patient), key)
    without = output(update_target(patient.online, patient.target, tau), x, 1)
    np.testing.assert_array_equal(
        output(update_target(operated.online, operated.target, tau), x, 1), without
    )


def test_hard_copy_after_surgery_is_exact(key):
    patient = make_patient(key)
    operated = OPERATE(patient, some(key, patient), key)
    copied = update_target(operated.online, operated.target, 1.0)
    jax.tree.map(np.testing.assert_array_equal, copied, operated.online)


def restated(variables, x, layer):
    """The layer slot by slot, as its docstring says, for automatic differentiation."""
    own, frozen = variables["params"]["layer"], variables["grafts"]["layer"]
    affine = lambda kernel, bias: x @ kernel + bias  # noqa: E731
    z = affine(own["kernel"], own["bias"])
    kept, comp = (
        [affine(frozen[f"{which}_kernel"][s], frozen[f"{which}_bias"][s]) for s in range(SLOTS)]
        for which in ("kept", "comp")
    )

    def composite(of):
        total = jnp.where(frozen["used"] > 0, of(kept[0]), of(z))
        for s in range(SLOTS):
            follows = kept[s + 1] if s + 1 < SLOTS else z
            difference = jnp.where(frozen["used"] > s + 1, of(follows), of(z)) - of(comp[s])
            total = total + jnp.where(frozen["used"] > s, difference, 0.0)
        return total

    normal = lambda z: z  # noqa: E731
    if layer.layer_norm:
        whole = composite(normal)
        mean, var = jnp.mean(whole, -1, keepdims=True), jnp.var(whole, -1, keepdims=True)
        normal = lambda z: (z - mean) / jnp.sqrt(var + 1e-6)  # noqa: E731
    relu = lambda z: jnp.maximum(normal(z), 0.0)  # noqa: E731
    if not layer.readers:
        return composite(relu)
    added = tuple(
        sum(
            relu(kept[s]) @ frozen[f"kept_rows_{j}"][s]
            - relu(comp[s]) @ frozen[f"comp_rows_{j}"][s]
            for s in range(SLOTS)
        )
        for j in range(len(layer.readers))
    )
    return relu(z), added


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("readers", [(), (3, 5)])
def test_gradients_in_weights_and_inputs_are_those_of_the_sum(key, layer_norm, readers):
    layer = LAYER.clone(layer_norm=layer_norm, readers=readers)
    variables = layer.init(key, jnp.zeros((ROWS, INPUTS)))
    online = {name: {"layer": variables[name]} for name in ("params", "grafts")}
    leaves, structure = jax.tree.flatten(online["grafts"])
    drawn = [
        jax.random.randint(k, leaf.shape, 0, SLOTS + 1)
        if leaf.dtype == jnp.int32
        else jax.random.normal(k, leaf.shape)
        for k, leaf in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
    ]
    online["grafts"] = jax.tree.unflatten(structure, drawn)
    x = jax.random.normal(key, (ROWS, INPUTS))

    def loss(apply, params, x):
        outputs = jax.tree.leaves(apply({**online, "params": params}, x))
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in outputs)

    ours = partial(loss, lambda v, x: output(v, x, SLOTS, layer))
    theirs = partial(loss, lambda v, x: restated(v, x, layer))
    given = online["params"], x
    got, expected = (jax.jit(jax.value_and_grad(f, (0, 1)))(*given) for f in (ours, theirs))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4), got, expected)
    assert float(jnp.min(jnp.max(jnp.abs(expected[1][1]), axis=0))) > 0.1
