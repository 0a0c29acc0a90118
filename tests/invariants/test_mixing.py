"""Monotonicity and IGM by brute force, before and after surgery and training."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from knife_jax.mixers import MIXERS
from knife_jax.nets.initialisers import INITS
from knife_jax.nets.wiring import relu_groups
from knife_jax.plasticity.rewrite import graft
from knife_jax.types import Patient

N, A, D, E, HH, ROWS, SLOTS = 3, 4, 7, 11, 13, 17, 2


@pytest.fixture(params=sorted(MIXERS))
def mixer(request):
    return MIXERS[request.param](N, E, HH, INITS["torch"](1.0), SLOTS)


def make(mixer, key):
    v = mixer.init(key, jnp.zeros((1, 1, N)), jnp.zeros((1, 1, D)))
    online = {name: {"mixer": v[name]} for name in ("params", "grafts")}
    return Patient(online, online, optax.adam(1e-2).init(online["params"]))


def mix(mixer, variables, q, state):
    parts = {name: tree["mixer"] for name, tree in variables.items()}
    return mixer.apply(parts, q, state)


def operated_and_trained(mixer, patient, key):
    """Three surgeries on half the neurons, each followed by training on random values."""
    rewrite, tx = graft(relu_groups(mixer.wiring()), SLOTS), optax.adam(1e-2)

    @jax.jit
    def step(patient, q, state, goal):
        def loss(params):
            team = mix(mixer, {**patient.online, "params": params}, q, state)
            return jnp.mean(jnp.square(team - goal))

        params = patient.online["params"]
        updates, opt = tx.update(jax.grad(loss)(params), patient.opt_state, params)
        online = {**patient.online, "params": optax.apply_updates(params, updates)}
        return Patient(online, patient.target, opt)

    for k in jax.random.split(key, 3):
        operable = rewrite.operable(patient)
        chosen = {
            name: may & jax.random.bernoulli(jax.random.fold_in(k, i), 0.5, may.shape)
            for i, (name, may) in enumerate(operable.items())
        }
        patient = rewrite.apply(patient, chosen, k)
        q, state = jax.random.normal(k, (5, ROWS, N)), jax.random.normal(k, (5, ROWS, D))
        goal = 3 * jax.random.normal(k, (5, ROWS))
        for _ in range(30):
            patient = step(patient, q, state, goal)
    return patient


def check_monotone(mixer, variables, key):
    q = 5 * jax.random.normal(key, (7, ROWS, N))
    state = 3 * jax.random.normal(jax.random.fold_in(key, 1), (7, ROWS, D))
    slope = jax.grad(lambda q: jnp.sum(mix(mixer, variables, q, state)))(q)
    assert slope.shape == q.shape and jnp.all(slope >= 0)
    assert jnp.mean(slope > 0) > 0.99


def check_igm(mixer, variables, key):
    """Each agent's greedy action is part of the best joint action out of all A^N."""
    q = 3 * jax.random.normal(key, (ROWS, N, A))
    state = jax.random.normal(jax.random.fold_in(key, 1), (ROWS, D))
    joint = np.array(list(itertools.product(range(A), repeat=N)))
    values = jnp.stack([q[:, jnp.arange(N), actions] for actions in joint])
    states = jnp.broadcast_to(state, (len(joint), *state.shape))
    team = mix(mixer, variables, values, states)
    greedy = team[np.ravel_multi_index(np.asarray(jnp.argmax(q, -1)).T, (A,) * N), jnp.arange(ROWS)]
    np.testing.assert_allclose(greedy, jnp.max(team, axis=0), rtol=1e-5, atol=1e-5)


def test_monotone_and_igm_before_and_after_surgery_and_training(mixer, key):
    patient = make(mixer, key)
    check_monotone(mixer, patient.online, key)
    check_igm(mixer, patient.online, key)
    later = operated_and_trained(mixer, patient, key)
    used = [layer["used"] for layer in later.online["grafts"]["mixer"].values()]
    assert all(jnp.max(u) == SLOTS for u in used)
    check_monotone(mixer, later.online, key)
    check_igm(mixer, later.online, key)
