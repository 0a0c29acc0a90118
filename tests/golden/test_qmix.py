"""The mixing network and the agent against NumPy re-statements of their published equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from tiny import drawn

from knife_jax.mixers.base import MixerOptions
from knife_jax.mixers.qmix import QMixer
from knife_jax.nets.agent import RecurrentAgent
from knife_jax.nets.initialisers import INITS

T, B, N, D, O, A, H, E, HH = 5, 3, 2, 7, 11, 13, 17, 19, 23


def options(init):
    return MixerOptions(n_agents=N, n_actions=A, embed=E, hyper_hidden=HH, init=init)


FORMS = {"abs": np.abs, "softplus": lambda x: np.log1p(np.exp(x)), "square": lambda x: x * x / 2}


@pytest.mark.parametrize("form", FORMS)
def test_mixer_equals_numpy(key, form):
    mixer, positive = QMixer(options(INITS["torch"](1.0)), form), FORMS[form]
    rng = np.random.default_rng(0)
    q, state = (rng.normal(size=(T, B, n)).astype(np.float32) for n in (N, D))
    variables = {"params": drawn(mixer.init, key, q, state, scale=0.2)["params"]}
    p = jax.tree.map(np.asarray, variables["params"])

    def dense(name, x):
        return x @ p[name]["kernel"] + p[name]["bias"]

    def hyper(name, x):
        return dense(f"{name}_out", np.maximum(dense(f"{name}_hidden", x), 0))

    s = np.asarray(state)
    w1 = positive(hyper("w1", s)).reshape(T, B, N, E)
    hidden = (np.asarray(q)[..., None] * w1).sum(-2) + dense("b1", s)
    hidden = np.where(hidden > 0, hidden, np.exp(hidden) - 1)
    expected = (hidden * positive(hyper("w2", s))).sum(-1) + hyper("v", s)[..., 0]
    found = jax.jit(mixer.apply)(variables, q, state)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def gru(p, x, h):
    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    r = sigmoid(x @ p["ir"]["kernel"] + p["ir"]["bias"] + h @ p["hr"]["kernel"])
    z = sigmoid(x @ p["iz"]["kernel"] + p["iz"]["bias"] + h @ p["hz"]["kernel"])
    candidate = h @ p["hn"]["kernel"] + p["hn"]["bias"]
    n = np.tanh(x @ p["in"]["kernel"] + p["in"]["bias"] + r * candidate)
    return (1 - z) * n + z * h


@pytest.mark.parametrize(("agent_id", "sees_last"), [(True, True), (True, False), (False, True)])
def test_agent_equals_numpy(key, agent_id, sees_last):
    """Also: the carry is forgotten, and the last action unknown, on the first row of an episode."""
    agent = RecurrentAgent(A, H, INITS["torch"](1.0), 0, agent_id, sees_last)
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(T, B, N, O)).astype(np.float32)
    last_action = rng.integers(0, A, (T, B, N), np.int32)
    first = rng.random((T, B)) < 0.3
    carry = rng.normal(size=(B, N, H)).astype(np.float32)
    made = drawn(agent.init, key, carry, obs, last_action, first, scale=0.2)
    variables = {"params": made["params"]}
    p = jax.tree.map(np.asarray, variables["params"])

    h, expected = np.asarray(carry), []
    for t in range(T):
        x = [np.asarray(obs[t])]
        if sees_last:
            one_hot = np.eye(A)[np.asarray(last_action[t])]
            x.append(one_hot * ~np.asarray(first[t])[:, None, None])
        if agent_id:
            x.append(np.broadcast_to(np.eye(N), (B, N, N)))
        x = np.concatenate(x, -1)
        x = np.maximum(x @ p["encoder"]["kernel"] + p["encoder"]["bias"], 0)
        h = gru(p["memory"], x, h * ~np.asarray(first[t])[:, None, None])
        expected.append(h @ p["head"]["kernel"] + p["head"]["bias"])
    last, values = jax.jit(agent.apply)(variables, carry, obs, last_action, first)
    np.testing.assert_allclose(values.values, np.stack(expected), atol=1e-5)
    np.testing.assert_allclose(last, h, atol=1e-5)


class Peer(nn.Module):
    """The layers of JaxMARL's ``qmix_rnn`` (RNNQNetwork and MixingNetwork) under our names, with
    flax's own GRU cell and orthogonal dense layers without bias at first."""

    @nn.compact
    def __call__(self, obs, h, state):
        def dense(width, scale, name):
            return nn.Dense(width, kernel_init=nn.initializers.orthogonal(scale), name=name)

        h, _ = nn.GRUCell(H, name="memory")(h, dense(H, 1.0, "encoder")(obs))
        dense(A, 1.0, "head")(h)
        for name, hidden, width in (("w1", HH, N * E), ("w2", HH, E), ("v", E, 1)):
            dense(width, 0.001, f"{name}_out")(dense(hidden, 0.001, f"{name}_hidden")(state))
        dense(E, 0.001, "b1")(state)


def test_orthogonal_networks_begin_as_jaxmarls_do(key):
    """Layer by layer: orthogonal kernels are so up to the scale, the others have its spread."""
    agent = RecurrentAgent(A, H, INITS["orthogonal"](1.0), 0, True, False)
    mixer = QMixer(options(INITS["orthogonal"](0.001)))
    q, no_action = jnp.zeros((1, 1, N)), jnp.full((1, 1, N), -1)

    @jax.jit
    def drawn():
        given = jnp.zeros((1, N, H)), jnp.zeros((1, 1, N, O)), no_action, jnp.ones((1, 1), bool)
        ours = (
            agent.init(key, *given)["params"] | mixer.init(key, q, jnp.zeros((1, 1, D)))["params"]
        )
        return ours, Peer().init(key, jnp.zeros(O + N), jnp.zeros(H), jnp.zeros(D))["params"]

    ours, peer = jax.device_get(drawn())
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)  # noqa: E731
    assert shapes(ours) == shapes(peer)

    def gram(kernel):
        return kernel @ kernel.T if kernel.shape[0] < kernel.shape[1] else kernel.T @ kernel

    paths = jax.tree_util.tree_leaves_with_path(ours)
    for (path, mine), theirs in zip(paths, jax.tree.leaves(peer), strict=True):
        name = jax.tree_util.keystr(path)
        if "bias" in name:
            np.testing.assert_array_equal(mine, theirs)
        elif any(gate in name for gate in ("'ir'", "'iz'", "'in'")):
            bound = 2 / 0.87962566 / np.sqrt(H)  # a normal cut at 2 standard deviations
            assert np.abs(mine).max() <= bound and np.abs(gram(mine) - np.eye(H)).max() > 0.1
            np.testing.assert_allclose(np.std(mine), 1 / np.sqrt(H), rtol=0.1)
        else:
            scale = np.linalg.norm(theirs, 2)
            np.testing.assert_allclose(gram(mine / scale), gram(theirs / scale), atol=1e-5)


def test_torch_init_bounds(key):
    init = INITS["torch"](1.0)
    kernel = init.dense(key, (101, 997), jnp.float32)
    bound = 1 / np.sqrt(101)
    assert jnp.max(jnp.abs(kernel)) <= bound
    np.testing.assert_allclose(jnp.std(kernel), bound / np.sqrt(3), rtol=0.01)
    bias = init.bias(101)(key, (9973,), jnp.float32)
    assert jnp.max(jnp.abs(bias)) <= bound and jnp.max(bias) > 0.99 * bound


@pytest.mark.parametrize("shape", [(31, 7), (7, 31)])
def test_fresh_columns_are_as_long_as_orthogonal_ones(key, shape):
    init = INITS["orthogonal"](1.5)
    fresh = jnp.linalg.norm(init.columns(key, shape, jnp.float32), axis=0)
    made = jnp.linalg.norm(init.dense(key, shape, jnp.float32), axis=0)
    np.testing.assert_allclose(jnp.mean(fresh**2), jnp.mean(made**2), rtol=1e-4)
