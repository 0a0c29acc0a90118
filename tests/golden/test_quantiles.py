"""Return distributions: the head's levels, the quantile error, and what DMIX makes of them."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tiny import tiny_config, untrained

from knife_jax.builders.networks import make_networks
from knife_jax.envs.base import EnvSpec, TimeStep
from knife_jax.mixers.base import mean_of, take_action_values
from knife_jax.mixers.qmix import QMixer
from knife_jax.mixers.quantiles import Levels, Quantiles, midpoints, quantile_huber
from knife_jax.mixers.rmix import cvar
from knife_jax.nets.agent import RecurrentAgent
from knife_jax.nets.initialisers import INITS
from knife_jax.training.forward import act, estimate, init_networks, joint_at, q_tot, unroll
from knife_jax.types import Trajectory

SPEC = EnvSpec("none", n_agents=3, n_actions=5, obs_size=2, state_size=7, horizon=11, has_win=False)
T, B, SAMPLES, ACTING = 5, 11, 3, 13


def test_the_quantile_error_by_hand():
    """z = 0 at level 1/4; goals 2 and -1/2: 1/4 · (2 - 1/2) and 3/4 · 1/8, in the mean, with the
    slopes -1/4 and 3/4 · 1/2."""
    given = jnp.array([0.0]), jnp.array([0.25]), jnp.array([2.0, -0.5])
    error, slope = jax.value_and_grad(quantile_huber)(*given)
    np.testing.assert_allclose(error, (0.25 * 1.5 + 0.75 * 0.125) / 2)
    np.testing.assert_allclose(slope, [(-0.25 + 0.75 * 0.5) / 2])


@cache
def sampled(sampling):
    """What networks of DMIX say of random histories, with their joint actions."""
    networks = make_networks(tiny_config(mixer="dmix", samples=SAMPLES, acting=ACTING), SPEC)

    n, key, rng = SPEC.n_agents, jax.random.key(20250625), np.random.default_rng(0)
    variables = untrained(partial(init_networks, networks, SPEC), key)
    obs = jnp.asarray(rng.normal(size=(T, B, n, SPEC.obs_size)), jnp.float32)
    action = jnp.asarray(rng.integers(0, SPEC.n_actions, (T, B, n), np.int32))
    states = jnp.asarray(rng.normal(size=(T, B, 7)), jnp.float32)

    @jax.jit
    def said(variables):
        carry, first = networks.initial_carry(B, n), jnp.zeros((T, B), bool)
        _, values, _ = unroll(
            networks, variables, carry, obs, action, first, key=key if sampling else None
        )
        batch = Trajectory(
            obs, states, jnp.ones((T, B, n, SPEC.n_actions), bool),
            first, action, *(jnp.zeros((T, B)),) * 3, carry, action[0],
        )  # fmt: skip
        return values["agent"], joint_at(networks, batch, values, action)

    return networks, variables, *said(variables)


def test_levels_are_random_in_learning_and_even_in_acting(key):
    _, _, learning, _ = sampled(sampling=True)
    levels = np.asarray(learning.levels)
    assert levels.shape == (T, B, SAMPLES) and len(np.unique(levels)) == levels.size
    assert learning.samples.shape == (T, B, 3, 5, SAMPLES)
    _, _, acting, _ = sampled(sampling=False)
    expected = (2 * np.arange(ACTING) + 1) / (2 * ACTING)
    np.testing.assert_allclose(acting.levels, np.broadcast_to(expected, (T, B, ACTING)), rtol=1e-6)
    for values in (learning, acting):
        np.testing.assert_allclose(values.values, jnp.mean(values.samples, -1), atol=1e-6)
    drawn = Levels(4001, 1).apply({}, 1, 1, rngs={"samples": key})
    np.testing.assert_allclose(np.sort(drawn[0, 0]), midpoints(4001), atol=0.03)


def test_levels_of_exploration_can_be_drawn(key):
    """As many as are evenly spaced otherwise, and only if a key is given; values are then scattered
    about those of many levels."""
    drawn = Levels(SAMPLES, ACTING, draws=True)
    levels = np.asarray(drawn.apply({}, T, B, rngs={"acting": key}))
    assert levels.shape == (T, B, ACTING) and len(np.unique(levels)) == levels.size
    even = np.broadcast_to(midpoints(ACTING), (T, B, ACTING))
    np.testing.assert_array_equal(drawn.apply({}, T, B), even)
    never = Levels(SAMPLES, ACTING)
    np.testing.assert_array_equal(never.apply({}, T, B, rngs={"acting": key}), even)
    options = {"mixer": "dmix", "samples": SAMPLES}
    random, many = (
        make_networks(tiny_config(**options, **acting), SPEC)
        for acting in ({"acting": 2, "acting_levels": "random"}, {"acting": 501})
    )
    n = SPEC.n_agents
    now = TimeStep(
        jnp.ones((1, n, SPEC.obs_size)), jnp.ones((1, 7)), jnp.ones((1, n, 5), bool),
        jnp.zeros(1), *(jnp.zeros(1, bool),) * 4,
    )  # fmt: skip
    given = random.initial_carry(1, n), now, jnp.zeros((1, n), int)

    variables = untrained(partial(init_networks, random, SPEC), key)

    @jax.jit
    def values(key):
        keys = jax.random.split(key, 3000)
        draws = jax.vmap(lambda key: act(random, variables, *given, key)[1])(keys)
        return act(random, variables, *given)[1], draws, act(many, variables, *given)[1]

    fixed, draws, expected = values(key)
    assert np.min(np.std(draws, axis=0)) > 1e-4 and np.max(np.abs(fixed - draws[0])) > 1e-4
    error = np.std(draws, axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(np.mean(draws, axis=0) - expected) < 5 * error + 1e-5)


def test_the_mean_of_z_tot_is_qmixs_value_and_its_shape_the_sums():
    networks, variables, _, joint = sampled(sampling=True)
    plain = networks._replace(mixer=QMixer(networks.mixer.options))

    @jax.jit
    def mixed(variables, joint):
        z_tot = estimate(networks, variables, joint)[0]["q_tot"]
        return z_tot, q_tot(plain, variables, joint)

    z_tot, qmix = mixed(variables, joint)
    own = take_action_values(joint.values, joint.action)
    np.testing.assert_allclose(mean_of(z_tot), qmix, rtol=1e-4, atol=1e-5)
    samples = joint.agents["agent"].samples
    chosen = jnp.take_along_axis(samples, joint.action[..., None, None], axis=-2)[..., 0, :]
    np.testing.assert_allclose(
        z_tot - qmix[..., None], jnp.sum(chosen - own[..., None], axis=2), rtol=1e-4, atol=1e-5
    )
    assert np.std(z_tot - qmix[..., None]) > 1e-3


def test_the_head_learns_a_distribution_whose_quantiles_hardly_cross(key):
    """Returns of 1 and -1 with even chances plus noise: quantiles of the mixture."""
    agent = RecurrentAgent(1, 32, INITS["torch"](1.0), head_with=Quantiles(16, 19))
    given = agent.initial_carry(1, 1), jnp.ones((1, 1, 1, 2)), jnp.zeros((1, 1, 1), int)
    given, tx = (*given, jnp.zeros((1, 1), bool)), optax.adam(3e-3)
    params = untrained(agent.init, key, *given)["params"]

    @jax.jit
    def fit(params):
        def step(carry, key):
            keys = jax.random.split(key, 3)

            def loss(params):
                _, out = agent.apply({"params": params}, *given, rngs={"samples": keys[0]})
                noise = 0.3 * jax.random.normal(keys[1], (1, 1, 64))
                goals = noise + jax.random.rademacher(keys[2], (1, 1, 64))
                return jnp.mean(quantile_huber(out.samples[:, :, 0, 0], out.levels, goals))

            updates, opt = tx.update(jax.grad(loss)(carry[0]), carry[1])
            return (optax.apply_updates(carry[0], updates), opt), None

        keys = jax.random.split(key, 1500)
        return jax.lax.scan(step, (params, tx.init(params)), keys)[0][0]

    _, out = agent.apply({"params": fit(params)}, *given)
    learnt = np.asarray(out.samples[0, 0, 0, 0])
    draws = np.random.default_rng(0).normal(scale=0.3, size=200_000)
    draws += np.where(np.arange(200_000) % 2, 1, -1)
    # κ = 1 pulls quantiles towards the mean, the inner ones most
    assert np.all(np.diff(learnt) > -0.05)
    true = np.quantile(draws, out.levels[0, 0])
    assert abs(learnt.mean() - draws.mean()) < 0.1
    assert np.corrcoef(learnt, true)[0, 1] > 0.9 and np.ptp(learnt) > 0.5 * np.ptp(true)


def test_cvar_is_the_mean_of_the_lowest_atoms():
    """Of 10 atoms at 10 levels, and of 7 at 2; the released code would divide by one less."""
    atoms = jnp.array([3.0, -1.0, 4.0, -1.5, 9.0, 2.0, 6.0, 5.0, 8.0, 7.0])
    ordered = np.sort(atoms)
    for level in range(10):
        expected = np.mean(ordered[: level + 1])
        np.testing.assert_allclose(cvar(atoms[None], jnp.array(level), 10), [expected], rtol=1e-6)
    # the sum of 5 over 4
    np.testing.assert_allclose(cvar(atoms[None], jnp.array(4), 10, 1), [sum(ordered[:5]) / 4])
    # 7 atoms at 1/2: the lowest 4
    seven = cvar(atoms[None, :7], jnp.array(0), 2)
    np.testing.assert_allclose(seven, [np.mean(np.sort(atoms[:7])[:4])], rtol=1e-6)


def test_risk_levels_differ_and_learn_nothing(key):
    """The levels of random histories are many; no gradient reaches the networks that choose."""
    config = tiny_config(mixer="rmix", atoms=7, risk_levels=5)
    networks = make_networks(config, SPEC)
    variables = untrained(partial(init_networks, networks, SPEC), key)
    n, keys = SPEC.n_agents, jax.random.split(key, 3)
    carry, first = networks.initial_carry(B, n), jnp.zeros((T, B), bool)
    obs = 3 * jax.random.normal(keys[0], (T, B, n, SPEC.obs_size))
    action = jax.random.randint(keys[1], (T, B, n), 0, SPEC.n_actions)

    def total(params):
        out = unroll(networks, {"params": params, "grafts": {}}, carry, obs, action, first)
        return jnp.sum(out[1]["agent"].values), out[1]["agent"]

    grads, agent = jax.jit(jax.grad(total, has_aux=True))(variables["params"])
    fits = jnp.stack([cvar(agent.samples, jnp.full((T, B, n), i), 5) for i in range(5)])
    chosen = jnp.argmin(jnp.sum(jnp.abs(fits - agent.values), axis=-1), axis=0)
    assert len(np.unique(chosen)) >= 2
    for name, leaves in grads["agent"].items():
        size = sum(float(jnp.sum(jnp.abs(leaf))) for leaf in jax.tree.leaves(leaves))
        assert (size == 0) == name.startswith("risk"), name
    kinds = {group.name: group.kind for group in networks.wiring()}
    assert kinds["agent/encoder"] == "relu" and kinds["agent/risk_encoder"] == "fixed"
