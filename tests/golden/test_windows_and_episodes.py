"""Windows of a running stream and whole episodes give the same targets for the same transitions.

The done flag of a transition decides its bootstrapping, the first flag of a row the carry: mixing
them up (bootstrapping with the flag of the wrong row) fails here.
"""

from functools import cache, partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config

from knife_jax.builders.trainer import make_trainer
from knife_jax.envs.base import Env, EnvSpec, TimeStep, first_step, vectorise
from knife_jax.nets.heads import ActionValues
from knife_jax.training.chunk import init
from knife_jax.training.rollout import rollout
from knife_jax.types import Trajectory

pytestmark = pytest.mark.xdist_group("windows")  # they share programs

N, A, O, D, LIMIT, E = 2, 3, 5, 7, 6, 3


class Walk(NamedTuple):
    key: jax.Array
    time: jax.Array


def observed(key, time):
    keys = jax.random.split(jax.random.fold_in(key, time), 3)
    avail_actions = jax.random.bernoulli(keys[2], 0.6, (N, A)).at[:, 0].set(True)
    return jax.random.normal(keys[0], (N, O)), jax.random.normal(keys[1], (D,)), avail_actions


def noise() -> Env:
    """Random observations and rewards, terminated by chance or truncated after six steps."""

    def reset(key):
        return Walk(key, jnp.zeros((), jnp.int32)), first_step(*observed(key, 0))

    def step(key, walk, action):
        time = walk.time + 1
        terminated = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.15)
        row = TimeStep(
            *observed(walk.key, time),
            reward=jax.random.normal(key) + jnp.sum(action),
            terminated=terminated,
            truncated=(time >= LIMIT) & ~terminated,
            first=jnp.zeros((), bool),
            won=jnp.zeros((), bool),
        )
        return Walk(walk.key, time), row

    return Env(EnvSpec("noise", N, A, O, D, LIMIT, False), reset, step)


def trainer_of(**algo):
    config = tiny_config(mixer="vdn", n_envs=E, batch_size=5, buffer_size=9, **algo)
    return make_trainer(config, vectorise(noise(), E))


@cache
def played(length, n_windows):
    """A patient, and consecutive windows of a stream of its experience."""
    trainer = trainer_of()
    state = jax.jit(partial(init, trainer))(jax.random.key(3))

    @jax.jit
    def play(actor, key):
        return rollout(
            trainer.env, trainer.learner.act, state.patient.online, actor, jnp.asarray(0.5),
            key, length,
        )  # fmt: skip

    actor, windows = state.actor, []
    for key in jax.random.split(jax.random.key(5), n_windows):
        actor, rows, _ = play(actor, key)
        windows.append(rows)
    return state.patient, windows


@cache
def targets(**algo):
    """(patient, batch) -> the goals of an algorithm."""
    learner = trainer_of(**algo).learner

    @jax.jit
    def compute(patient, batch):
        online = {"agent": ActionValues(learner.values(patient.online, batch).agents)}
        return learner.targets(online, patient.target, batch).returns["q_tot"]

    return lambda patient, batch: np.asarray(compute(patient, batch))


def whole_episodes(rows: Trajectory, row_targets):
    """All episodes that are complete in the rows, each alone and from its start, as PyMARL stores
    them: a batch of padded episodes, and the targets their transitions have in the rows."""
    rows = jax.tree.map(np.asarray, rows)
    places = []
    for e in range(E):
        starts = np.flatnonzero(rows.first[:, e])
        places += [(a, b - 1, e) for a, b in pairwise(starts) if b - 1 > a]

    def padded(leaf, length):
        out = np.zeros((length, len(places), *leaf.shape[2:]), leaf.dtype)
        for i, (start, last, e) in enumerate(places):
            n = last - start + (length == LIMIT + 1)  # the last row has no transition
            out[:n, i] = leaf[start : start + n, e]
        return out

    seen = {
        n: padded(getattr(rows, n), LIMIT + 1) for n in ("obs", "state", "avail_actions", "first")
    }
    done = {n: padded(getattr(rows, n), LIMIT) for n in ("action", "reward", "terminated", "valid")}
    episodes = Trajectory(
        **seen,
        **done,
        carry=np.zeros((len(places), *rows.carry.shape[1:]), np.float32),
        last_action=np.full((len(places), N), -1, np.int32),
    )
    return episodes, padded(row_targets, LIMIT)


def joined(windows):
    """Consecutive windows as one long one."""
    rows = {
        name: jnp.concatenate(
            [getattr(w, name)[:-1] for w in windows[:-1]] + [getattr(windows[-1], name)]
        )
        for name in ("obs", "state", "avail_actions", "first")
    }
    transitions = {
        name: jnp.concatenate([getattr(w, name) for w in windows])
        for name in ("action", "reward", "terminated", "valid")
    }
    return Trajectory(
        **rows, **transitions, carry=windows[0].carry, last_action=windows[0].last_action
    )


@pytest.mark.parametrize("double_q", [True, False])
def test_one_step_targets_of_cut_episodes(double_q):
    """Windows that cut episodes anywhere, with the carries that were stored at the cuts."""
    (patient, windows), goals = played(5, 7), targets(td_lambda=0.0, double_q=double_q)
    by_window = np.concatenate([goals(patient, w) for w in windows])
    episodes, expected = whole_episodes(joined(windows), by_window)
    ours = goals(patient, episodes)
    np.testing.assert_allclose(ours[episodes.valid], expected[episodes.valid], rtol=1e-5, atol=1e-5)
    assert episodes.valid.sum() > 50
    assert np.sum(~episodes.terminated.any(0)) >= 3  # truncated ones


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_targets_of_a_window_with_several_episodes(lam):
    """Also λ-targets, and with a target network that differs from the online one."""
    (patient, (window,)), goals = played(37, 1), targets(td_lambda=lam)
    patient = patient._replace(target=jax.tree.map(lambda x: 0.7 * x, patient.target))
    by_window = goals(patient, window)
    episodes, expected = whole_episodes(window, by_window)
    ours = goals(patient, episodes)
    np.testing.assert_allclose(ours[episodes.valid], expected[episodes.valid], rtol=1e-5, atol=1e-5)
    assert episodes.valid.sum() > 50


def test_a_terminated_transition_is_worth_its_reward_and_a_truncated_one_bootstraps():
    patient, (window,) = played(37, 1)
    ours = targets(td_lambda=0.0)(patient, window)
    terminated = np.asarray(window.terminated)
    valid = np.asarray(window.valid)
    truncated = valid & ~np.concatenate([valid[1:], valid[-1:]]) & ~terminated
    assert terminated.sum() > 3 and truncated.sum() > 3
    np.testing.assert_array_equal(ours[terminated], np.asarray(window.reward)[terminated])
    assert np.all(np.abs(ours - window.reward)[truncated] > 1e-4)
