"""Methods that hold weights, beside a restatement in NumPy; what each weight matters, by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import tiny_config, untrained

from knife_jax import plasticity as p
from knife_jax.builders.networks import make_networks
from knife_jax.config.schema import ConfigError
from knife_jax.envs.base import EnvSpec
from knife_jax.plasticity.apply import step
from knife_jax.plasticity.moments import restart
from knife_jax.training.learner import make_learner
from knife_jax.training.targets import td_lambda_targets
from knife_jax.types import Patient, Trajectory, batch_axes

GROUP = (p.NeuronGroup("hidden", 3, p.torch_init().columns),)
LR, TASKS, STEPS, SIZE = 0.05, 3, 4, 9
"""weights [2, 3] and biases [3] as one vector"""


def tree(vector):
    vector = jnp.asarray(vector, jnp.float32)
    return {"hidden": {"kernel": vector[:6].reshape(2, 3), "bias": vector[6:]}}


def vector(params):
    leaves = params["hidden"]
    return np.concatenate([np.ravel(leaves["kernel"]), leaves["bias"]])


def restated(theta, grads, weights, strength, decay):
    """SGD on L + strength Σ Ω (θ - θ*)², with Ω ← decay Ω + weights at the end of each task."""
    anchor, omega, course = theta.copy(), np.zeros(SIZE), []
    for of_task, measured in zip(grads, weights, strict=True):
        for gradient in of_task:
            theta = theta - LR * (gradient + 2 * strength * omega * (theta - anchor))
            course.append(theta)
        anchor, omega = theta, decay * omega + measured
    return np.array(course)


@pytest.mark.parametrize(
    ("method", "weighs", "strength", "decay"),
    [
        (partial(p.l2_task, strength=0.3), None, 0.3, 0.0),
        (partial(p.ewc, strength=0.8, decay=0.6), "fisher", 0.4, 0.6),
        (partial(p.mas, strength=0.3), "output_slopes", 0.3, 1.0),
    ],
)
def test_weights_are_held_as_restated(method, weighs, strength, decay):
    rng = np.random.default_rng(0)
    theta, grads = rng.normal(size=SIZE), rng.normal(size=(TASKS, STEPS, SIZE))
    weights = rng.uniform(size=(TASKS, SIZE)) if weighs else np.ones((TASKS, SIZE))
    method = method(GROUP, when=p.every_updates(STEPS))
    assert method.extras.needs == ((weighs,) if weighs else ())
    tx = method.extras.optimiser(optax.sgd(LR, momentum=0.0))
    patient = Patient({"params": tree(theta)}, {}, tx.init(tree(theta)))
    state, clock, course = method.init(patient.online), p.Clock.zero(), []
    for task in range(TASKS):
        for i in range(STEPS):
            updates, opt_state = tx.update(
                tree(grads[task, i]), patient.opt_state, patient.online["params"]
            )
            params = optax.apply_updates(patient.online["params"], updates)
            patient = Patient({"params": params}, {}, opt_state)
            stats = p.NeuronStats(
                {}, {}, {}, importance=tree(weights[task] if i == 3 else np.zeros(9))
            )
            after = clock._replace(updates=clock.updates + 1)
            patient, state, event = step(
                method, patient, state, stats, clock, after, jax.random.key(0)
            )
            assert bool(event.due) == (i == STEPS - 1) and event.units_operated == 3 * event.due
            clock, course = after, [*course, vector(params)]
    np.testing.assert_allclose(course, restated(theta, grads, weights, strength, decay), rtol=1e-5)
    # the moments start again, and what is held stays held
    kept = restart(patient.opt_state)
    jax.tree.map(np.testing.assert_array_equal, kept[0], patient.opt_state[0])
    assert not np.any(jax.tree.leaves(optax.tree.get(kept, "trace"))[0])


def test_a_measurement_that_is_missing_is_one_line():
    method = p.ewc(GROUP, when=p.every_updates(1))
    state = method.init({"params": tree(np.ones(9))})
    with pytest.raises(ConfigError, match=r"stats\.importance={} is refused: .*needs fisher"):
        method.measure(state, p.NeuronStats({}, {}, {}), p.Clock.zero())


def test_importance_of_a_linear_model_by_hand():
    """F = x·w: the gradient of (F - y)² is 2 (F - y) x, that of F² is 2 F x."""
    rng = np.random.default_rng(1)
    w, x, y = rng.normal(size=4), rng.normal(size=(7, 4)), rng.normal(size=7)
    loss = jax.grad(lambda w, row: (row[0] @ w - row[1]) ** 2)
    fisher = p.weight_importance("fisher", lambda row: loss(w, row), (x, y))
    errors = x @ w - y
    np.testing.assert_allclose(fisher, np.mean((2 * errors[:, None] * x) ** 2, 0), rtol=1e-5)
    square = jax.grad(lambda w, row: (row @ w) ** 2)
    slopes = p.weight_importance("output_slopes", lambda row: square(w, row), x)
    np.testing.assert_allclose(slopes, np.mean(np.abs(2 * (x @ w)[:, None] * x), 0), rtol=1e-5)


def test_importance_in_training_is_that_of_each_window_alone():
    """Of VDN, whose Q_tot is a sum: two agents, three windows, one of them cut short."""
    t, b, n, a = 2, 3, 2, 3
    spec = EnvSpec("hand", n, a, 2, 1, t, has_win=False)
    networks = make_networks(tiny_config(mixer="vdn", hidden=4), spec)
    learner = make_learner(
        spec, networks, (), optax.identity(), gamma=0.9, double_q=True, target_period=10, tau=1.0,
        returns=partial(td_lambda_targets, lam=0.0),
    )  # fmt: skip
    keys = iter(jax.random.split(jax.random.key(0), 4))
    batch = Trajectory(
        obs=jax.random.normal(next(keys), (t + 1, b, n, 2)),
        state=jnp.zeros((t + 1, b, 1)),
        avail_actions=jnp.ones((t + 1, b, n, a), bool),
        first=jnp.zeros((t + 1, b), bool),
        action=jax.random.randint(next(keys), (t, b, n), 0, a),
        reward=jax.random.normal(next(keys), (t, b)),
        terminated=jnp.zeros((t, b), bool),
        valid=jnp.ones((t, b), bool).at[1, 2].set(False),
        carry=jnp.zeros((b, n, 4)),
        last_action=jnp.full((b, n), -1),
    )
    online = untrained(lambda: learner.init(jax.random.key(1)).online)
    key = jax.random.key(2)
    one = lambda i: jax.tree.map(  # noqa: E731
        lambda leaf, axis: jnp.take(leaf, jnp.array([i]), axis=axis), batch, batch_axes(batch)
    )

    @jax.jit
    def by_hand(params, window):
        def squares(params):
            values = learner.values({**online, "params": params}, window)
            of_step = jnp.sum(values.agents[:-1] ** 2, (-2, -1)) + values.q_tot**2
            return jnp.sum(of_step * window.valid) / jnp.sum(window.valid)

        loss = learner.gradient({**online, "params": params}, online, window)[0]
        return loss, jax.grad(squares)(params)

    of_each = [by_hand(online["params"], one(i)) for i in range(b)]
    for kind, of, place in (("fisher", np.square, 0), ("output_slopes", np.abs, 1)):
        found = jax.jit(partial(learner.importance, kind))(online, online, batch, key)
        expected = jax.tree.map(
            lambda *leaves: np.mean([of(leaf) for leaf in leaves], axis=0),  # noqa: B023
            *(grads[place] for grads in of_each),
        )
        assert max(float(jnp.max(leaf)) for leaf in jax.tree.leaves(found)) > 1e-3
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-7), found, expected)
