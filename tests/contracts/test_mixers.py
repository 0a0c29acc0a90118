"""Every mixer of the table: shapes, wiring, monotonicity and IGM by brute force, before and after
surgery and training; and what a mixer declares that it needs."""

import dataclasses
import functools
import itertools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from tiny import tiny_config, untrained

from knife_jax.builders.networks import make_networks
from knife_jax.builders.plasticity import make_plasticity
from knife_jax.cli import compose
from knife_jax.config.registry import resolve
from knife_jax.config.schema import ConfigError
from knife_jax.envs.base import EnvSpec
from knife_jax.mixers import (
    CRITICS,
    INPUTS,
    MIXERS,
    Factorisation,
    Joint,
    Mixer,
    MixerOptions,
)
from knife_jax.mixers.vdn import VDNMixer
from knife_jax.nets.agent import RecurrentAgent
from knife_jax.nets.heads import ActionValues
from knife_jax.nets.initialisers import INITS
from knife_jax.nets.wiring import check, relu_groups
from knife_jax.plasticity.rewrite import graft
from knife_jax.training.forward import Networks, init_networks, mixer_inputs, q_tot
from knife_jax.types import Patient

N, A, D, E, HH, ROWS, SLOTS, K = 3, 4, 7, 11, 13, 17, 2, 5
DEEP = {"qplex": {"layers": 3}, "resq": {"central": 5}, "rmix": {"atoms": 3}}
INIT = INITS["torch"](1.0)
OPTIONS = MixerOptions(
    n_agents=N, n_actions=A, embed=E, hyper_hidden=HH, init=INIT, slots=SLOTS
)  # fmt: skip


@pytest.fixture(params=sorted(MIXERS))
def mixer(request):
    made = resolve(MIXERS[request.param])(OPTIONS)
    return made.mixer if isinstance(made, Factorisation) else made


@functools.partial(jax.jit, static_argnums=(1, 2))
def some_joint(key, *shape):
    """Random joint actions; each agent has at least one available action, and it is taken."""
    keys = jax.random.split(key, 5)
    action = jax.random.randint(keys[0], (*shape, N), 0, A)
    samples = 3 * jax.random.normal(keys[1], (*shape, N, A, K))
    levels = jax.random.uniform(keys[4], (*shape, K))
    critics = {
        name: ActionValues(jax.random.normal(jax.random.fold_in(keys[1], i), (*shape, N, A)))
        for i, name in enumerate(CRITICS)
    }
    return Joint(
        agents={"agent": ActionValues(jnp.mean(samples, axis=-1), samples, levels), **critics},
        action=action,
        state=3 * jax.random.normal(keys[2], (*shape, D)),
        avail_actions=jax.random.bernoulli(keys[3], 0.5, (*shape, N, A))
        | jax.nn.one_hot(action, A, dtype=bool),
    )


@jax.jit
def with_values(joint, values):
    """The joint actions with other values, which stay the means of the samples."""
    agent = joint.agents["agent"]
    moved = agent.samples + (values - agent.values)[..., None]
    return joint._replace(
        agents={**joint.agents, "agent": ActionValues(values, moved, agent.levels)}
    )


@functools.partial(jax.jit, static_argnums=0)
def of(mixer, variables, joint):
    """Q_tot as the learner computes it."""
    return q_tot(Networks(RecurrentAgent(A, 2, INIT), mixer), variables, joint)


@functools.partial(jax.jit, static_argnums=0)
def with_slope(mixer, variables, joint):
    """Q_tot, and the slope of its sum in the agents' values: one program for all checks."""
    mixed, pull = jax.vjp(lambda v: of(mixer, variables, with_values(joint, v)), joint.values)
    return mixed, pull(jnp.ones_like(mixed))[0]


def make(mixer, key):
    def init():
        joint = some_joint(key, 1, 1)
        return mixer.init(key, joint.values[..., 0], **mixer_inputs(mixer, joint))

    made = untrained(init)
    online = {name: {"mixer": made[name]} if name in made else {} for name in ("params", "grafts")}
    return Patient(online, online, optax.adam(1e-2).init(online["params"]))


def operated_and_trained(mixer, patient, key):
    """Three surgeries on half the neurons, each followed by training on random values."""
    rewrite, tx = graft(relu_groups(mixer.wiring()), SLOTS), optax.adam(1e-2)

    @jax.jit
    def operate(patient, k):
        operable = rewrite.operable(patient)
        chosen = {
            name: may & jax.random.bernoulli(jax.random.fold_in(k, i), 0.5, may.shape)
            for i, (name, may) in enumerate(operable.items())
        }
        return rewrite.apply(patient, chosen, k)

    @jax.jit
    def step(patient, joint, goal):
        def loss(params):
            mixed = of(mixer, {**patient.online, "params": params}, joint)
            return jnp.mean(jnp.square(mixed - goal))

        params = patient.online["params"]
        updates, opt = tx.update(jax.grad(loss)(params), patient.opt_state, params)
        online = {**patient.online, "params": optax.apply_updates(params, updates)}
        return Patient(online, patient.target, opt)

    for k in jax.random.split(key, 3):
        patient, joint = operate(patient, k), some_joint(k, 5, ROWS)
        goal = 3 * jax.random.normal(k, (5, ROWS))
        for _ in range(30):
            patient = step(patient, joint, goal)
    return patient


def check_monotonic(mixer, variables, key):
    """By gradient, and by raising one agent's value at a time."""
    joint = some_joint(key, A**N, ROWS)
    values, action = np.asarray(joint.values), np.asarray(joint.action)
    mix = lambda values: jax.device_get(  # noqa: E731
        with_slope(mixer, variables, with_values(joint, values))
    )
    mixed, slope = mix(values)
    slope = np.take_along_axis(slope, action[..., None], axis=-1)
    assert np.all(slope >= 0) and np.mean(slope > 0) > 0.99
    for agent in range(N):
        taken = np.eye(A, dtype=np.float32)[action] * (np.arange(N) == agent)[:, None]
        raised = mix(values + 5 * taken)[0] - mixed
        assert np.all(raised >= -1e-5) and np.mean(raised > 0) > 0.99


def check_igm(mixer, variables, key):
    """Each agent's greedy available action is part of the best joint action out of all A^N."""
    at = some_joint(key, 1, ROWS)
    actions = np.array(list(itertools.product(range(A), repeat=N)))
    n = len(actions)
    every = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (n, *leaf.shape[1:])), at)
    every = every._replace(action=np.broadcast_to(actions[:, None], (n, ROWS, N)).astype(np.int32))
    taken = np.take_along_axis(every.avail_actions, every.action[..., None], axis=-1)[..., 0]
    mixed = np.asarray(with_slope(mixer, variables, every)[0])
    mixed = np.where(np.all(taken, axis=-1), mixed, -np.inf)
    greedy = np.argmax(np.where(at.avail_actions, np.asarray(at.values), -np.inf), axis=-1)[0]
    of_greedy = mixed[np.ravel_multi_index(greedy.T, (A,) * N), np.arange(ROWS)]
    np.testing.assert_allclose(of_greedy, np.max(mixed, axis=0), rtol=1e-5, atol=1e-5)


def test_it_is_a_mixer_whose_wiring_describes_its_weights(mixer, key):
    assert isinstance(mixer, Mixer) and {*mixer.needs} <= {*INPUTS}
    patient = make(mixer, key)
    check(mixer.wiring(), patient.online["params"])
    layers = {f"mixer/{name}" for name in patient.online["params"].get("mixer", {})}
    assert {group.name for group in mixer.wiring()} == layers
    joint = jax.eval_shape(lambda: some_joint(key, 7, ROWS))
    assert jax.eval_shape(functools.partial(of, mixer), patient.online, joint).shape == (7, ROWS)


def test_monotonic_and_igm_before_and_after_surgery_and_training(mixer, key):
    patient = make(mixer, key)
    check_monotonic(mixer, patient.online, key)
    check_igm(mixer, patient.online, key)
    if not mixer.wiring():
        return
    later = operated_and_trained(mixer, patient, key)
    used = [layer["used"] for layer in later.online["grafts"]["mixer"].values()]
    assert all(np.max(u) == SLOTS for u in used)
    check_monotonic(mixer, later.online, key)
    check_igm(mixer, later.online, key)


@pytest.mark.parametrize("method", ["knife_fresh", "reset_full"])
@pytest.mark.parametrize("name", ["qplex", "resq", "dmix", "rmix"])
def test_methods_find_the_layers_of_all_networks(name, method, key):
    """Grafts with outgoing weights of their own, also in stacks of hidden layers, and a full reset,
    which must know every layer. Shapes alone: nothing is compiled."""
    section = dataclasses.asdict(compose([f"plasticity={method}"]).plasticity)
    config = tiny_config(mixer=name, plasticity=section, **DEEP.get(name, {}))
    spec = EnvSpec("none", N, A, 2, D, 1, False)
    networks, tx = make_networks(config, spec), optax.adam(1e-2)
    surgery = make_plasticity(config.plasticity, networks.wiring())

    def operated():
        online = init_networks(networks, spec, key)
        patient = Patient(online, online, tx.init(online["params"]))
        return patient, surgery.operate(patient, surgery.init(online), key)[0]

    before, after = jax.eval_shape(operated)
    assert jax.tree.map(jnp.shape, before) == jax.tree.map(jnp.shape, after)
    critics = {"resq": {"star", "residual"}}.get(name, set())
    assert {*after.online["params"]} == {"agent", "mixer"} | critics


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"mixer": "iql", "mask_dead": True},
            "algo.mask_dead=true is refused: must be false with algo.mixer=iql, "
            "which mixes no values",
        ),
        (
            {"mixer": "rmix", "form": "code", "atoms": 10},
            "algo.atoms=10 is refused: must be more than algo.risk_levels=10 with "
            "algo.form=code, which divides by one atom less",
        ),
        (
            {"mixer": "dmix", "acting_levels": "both"},
            "algo.acting_levels=both is refused: must be one of even, random",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, said):
    with pytest.raises(ConfigError) as refused:
        tiny_config(**options)
    assert str(refused.value) == said


def test_surgery_on_a_mixer_without_neurons_is_refused():
    scope = {"name": "redo", "method": "redo", "scope": "mixer"}
    config = tiny_config(mixer="vdn", plasticity=scope)
    wiring = make_networks(config, EnvSpec("none", N, A, 2, D, 1, False)).wiring()
    refused = r"^plasticity\.scope=mixer is refused: must be agent or all, as this mixer has no neu"
    with pytest.raises(ConfigError, match=refused):
        make_plasticity(config.plasticity, wiring)


def test_vdn_is_the_sum(key):
    """Sunehag et al. 2018, eq. 2, of values that were chosen by hand."""
    joint = with_values(some_joint(key, 1, 1), jnp.arange(12.0).reshape(1, 1, 3, 4))
    joint = joint._replace(action=jnp.array([[[0, 3, 1]]]))
    assert float(of(VDNMixer(OPTIONS), {}, joint)[0, 0]) == 0 + 7 + 9


class Advantage(nn.Module):
    """How far the actions are below the best available ones: what QPLEX mixes, unweighted."""

    options: MixerOptions
    needs: ClassVar[tuple[str, ...]] = ("max_values", "action")

    def __call__(self, values, max_values, action):
        return jnp.sum(values - max_values, axis=-1) + 100 * jnp.sum(action, axis=-1)

    def wiring(self):
        return ()


def test_a_mixer_of_ones_own_gets_what_it_declares(monkeypatch, key):
    with pytest.raises(ConfigError, match=r"algo\.mixer=advantage is refused: must be one of qmix"):
        tiny_config(mixer="advantage")
    monkeypatch.setitem(MIXERS, "advantage", f"{__name__}:Advantage")
    config = tiny_config(mixer="advantage")
    networks = make_networks(config, EnvSpec("none", N, A, 2, D, 1, False))
    joint = some_joint(key, 5, ROWS)
    variables = init_networks(networks, EnvSpec("none", N, A, 2, D, 1, False), key)
    values, available, action = (
        np.asarray(leaf) for leaf in (joint.values, joint.avail_actions, joint.action)
    )
    expected = np.zeros((5, ROWS))
    for t, b, i in itertools.product(range(5), range(ROWS), range(N)):
        best = max(values[t, b, i, a] for a in range(A) if available[t, b, i, a])
        expected[t, b] += values[t, b, i, action[t, b, i]] - best + 100 * action[t, b, i]
    np.testing.assert_allclose(q_tot(networks, variables, joint), expected, rtol=1e-5)
    nearest = r"algo\.mixer=vdm .*mean 'vdn'.* one of qmix, vdn.*, advantage$"
    with pytest.raises(ConfigError, match=nearest):
        tiny_config(mixer="vdm")
