"""Each algorithm of value factorisation against its restatement in NumPy: the loss on a batch, and
the gradient by finite differences; and what published code got wrong."""

from functools import cache, partial

import factorisations as restated
import jax
import numpy as np
import optax
import pytest
from tiny import drawn, tiny_config

from knife_jax.builders.networks import make_factorisation, make_networks
from knife_jax.config.mixers import MIXERS
from knife_jax.envs.base import EnvSpec
from knife_jax.training.learner import make_learner
from knife_jax.training.targets import td_lambda_targets
from knife_jax.types import Trajectory

N, A, O, D, T, B = 2, 5, 3, 7, 5, 11
SPEC = EnvSpec("none", N, A, O, D, horizon=17, has_win=False)
SMALL = {"central": 5}
CASES = [
    ("qmix", {}, restated.qmix_loss),
    ("vdn", {}, restated.vdn_loss),
    ("iql", {}, restated.iql_loss),
    ("qplex", {"heads": 3, "layers": 1}, restated.qplex_loss),
    ("qplex", {"heads": 1, "layers": 3}, restated.qplex_loss),
    ("wqmix", SMALL, restated.wqmix_loss),
    ("wqmix", SMALL | {"weighting": "ow", "alpha": 0.3},
     partial(restated.wqmix_loss, weighting="ow", alpha=0.3)),
    ("resq", SMALL, restated.resq_loss),
    ("dmix", {"samples": 3, "acting": 7}, partial(restated.dmix_loss, n_levels=7, samples=3)),
]  # fmt: skip
RISKY = {"atoms": 7, "risk_levels": 3, "quantile_weight": 0.3}
RISK = partial(restated.rmix_loss, n_levels=3, weight=0.3)
AS_RELEASED = partial(RISK, literal=True, mean=lambda z, n: restated.lowest(z, n, n - 1))
CASES += [("rmix", RISKY, RISK), ("rmix", RISKY | {"form": "code"}, AS_RELEASED)]
WITHOUT_TARGET = {"target_period": 1, "td_lambda": 0.85, "reward_scale": 10.0, "layer_norm": True}
PQN = partial(restated.pqn_loss, lam=0.85, reward_scale=10.0)
CASES += [("vdn", WITHOUT_TARGET | {"encoder_layers": n}, PQN) for n in (1, 3)]
MASKED = {"mask_dead": True}
CASES += [
    ("qmix", MASKED, partial(restated.qmix_loss, mask_dead=True)),
    ("qplex", MASKED, partial(restated.qplex_loss, mask_dead=True)),
]
BUGS = [
    # the released code has the sign of the residual in a penalty alone, which it makes zero
    ("resq", SMALL, partial(restated.resq_loss, residual=lambda q_r: q_r)),
    ("rmix", RISKY, partial(RISK, literal=True)),
    # the released code divides the sum of the lowest atoms by one less than there are
    ("rmix", RISKY, partial(RISK, mean=lambda z, n: restated.lowest(z, n, n - 1))),
]
"""what published code does otherwise"""


def make_batch(width, dead):
    """Random windows, in which each agent is dead with this chance: its action is the only one."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    coin = lambda p, *shape: rng.random(shape) < p  # noqa: E731
    action = rng.integers(0, A, (T, B, N), np.int32)
    taken = np.eye(A, dtype=bool)[np.concatenate([action, action[:1]])]
    alive = ~coin(dead, T + 1, B, N, 1)
    return Trajectory(
        obs=normal(T + 1, B, N, O),
        state=normal(T + 1, B, D),
        avail_actions=(coin(0.6, T + 1, B, N, A) & alive) | taken,
        first=coin(0.2, T + 1, B),
        action=action,
        reward=normal(T, B),
        terminated=coin(0.2, T, B),
        valid=coin(0.8, T, B),
        carry=normal(B, N, width),
        last_action=rng.integers(-1, A, (B, N), np.int32),
    )


@cache
def made(name, **options):
    """The learner of an algorithm, a patient whose networks differ, and a batch."""
    sizes = {"mixer": name, "hidden": 3, "embed": 2, "hyper_hidden": 5, "td_lambda": 0.0}
    config = tiny_config(**sizes | options)
    algo = config.algo
    algorithm = make_factorisation(config, SPEC)
    networks = make_networks(config, SPEC, algorithm)
    learner = make_learner(
        SPEC, networks, networks.wiring()[:1], optax.identity(), gamma=restated.GAMMA,
        returns=partial(td_lambda_targets, lam=algo.td_lambda), double_q=name != "dmix",
        reward_scale=algo.reward_scale, target_period=algo.target_period, tau=1.0,
        error=algorithm.error, bootstrap=algorithm.bootstrap,
    )  # fmt: skip
    online, target = (drawn(learner.init, jax.random.key(0), seed=seed).online for seed in (11, 12))
    dead = 0.3 if algo.mask_dead else 0.0
    width = jax.eval_shape(lambda: learner.initial_carry(1)).shape[-1]
    batch = make_batch(width, dead)
    return learner, online, target, batch


def in_numpy(name, options, loss):
    """The restated loss on the batch, of the online parameters, and these."""
    _, online, target, batch = made(name, **options)
    double = lambda tree: jax.tree.map(lambda x: np.asarray(x, np.float64), tree)  # noqa: E731
    p, lagging = double(online["params"]), double(target["params"])
    return partial(loss, still=p, target=lagging, batch=jax.tree.map(np.asarray, batch)), p


@cache
def gradient(name, **options):
    learner, online, target, batch = made(name, **options)
    grads, _, metrics = jax.jit(learner.gradient)(online, target, batch)
    return grads, metrics["loss"]


@pytest.mark.parametrize(("name", "options", "restated_loss"), CASES)
def test_loss_and_gradient_equal_numpys(name, options, restated_loss):
    grads, ours = gradient(name, **options)
    loss, p = in_numpy(name, options, restated_loss)
    np.testing.assert_allclose(ours, loss(p), rtol=1e-4)
    rng, size = np.random.default_rng(1), 1e-5
    leaves, structure = jax.tree.flatten(p)
    for i, slope in enumerate(jax.tree.leaves(grads)):
        way = rng.normal(size=slope.shape)

        def moved(step, i=i, way=way):
            return structure.unflatten([*leaves[:i], leaves[i] + step * way, *leaves[i + 1 :]])

        slope_there = (loss(moved(size)) - loss(moved(-size))) / (2 * size)
        np.testing.assert_allclose(np.sum(slope * way), slope_there, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize(("name", "options", "wrong_loss"), BUGS)
def test_published_mistakes_are_not_copied(name, options, wrong_loss):
    loss, p = in_numpy(name, options, wrong_loss)
    assert abs(float(gradient(name, **options)[1]) / loss(p) - 1) > 0.005


def test_every_algorithm_is_restated():
    assert {name for name, _, _ in CASES} == {*MIXERS}
