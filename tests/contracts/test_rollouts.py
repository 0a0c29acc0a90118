"""Learning without a replay: each round's windows in epochs, with the end of the round before."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ladder.environments import JOINT, MEMORY
from tiny import KNIFE, tiny_config

from knife_jax.builders.program import build_in
from knife_jax.builders.trainer import make_trainer
from knife_jax.config.schema import ConfigError
from knife_jax.envs.base import vectorise
from knife_jax.training import chunk as training
from knife_jax.training import replay
from knife_jax.training.forward import agent_values
from knife_jax.training.rollout import ACTING, rollout, start

pytestmark = pytest.mark.usefixtures("networks_at_once")

E, T, M = 6, 5, 3
ROLLOUTS = {"mixer": "vdn", "data": "rollouts", "batch_size": 3, "learning_starts": 0,
            "target_period": 1, "n_envs": E, "window": T, "updates_per_round": 7}  # fmt: skip


@pytest.mark.parametrize(("n", "batch", "steps"), [(6, 3, 7), (5, 5, 3), (8, 1, 8), (12, 4, 2)])
def test_each_epoch_has_every_window_once(n, batch, steps):
    order = np.asarray(replay.epochs(jax.random.key(1), n, batch, steps))
    assert order.shape == (steps, batch)
    a_round = n // batch
    whole = [sorted(order[i : i + a_round].ravel()) for i in range(0, steps - a_round + 1, a_round)]
    assert whole == [list(range(n))] * (steps // a_round)
    rest = order[len(whole) * a_round :].ravel()
    assert len(set(rest)) == rest.size
    other = np.asarray(replay.epochs(jax.random.key(2), n, batch, steps))
    assert not np.array_equal(order, other)


def played(memory):
    """Four rounds of play from the first step on, by the same network."""
    trainer = make_trainer(tiny_config(**ROLLOUTS, memory_window=memory), vectorise(MEMORY.env, E))
    state = jax.jit(partial(training.init, trainer))(jax.random.key(3))
    play = jax.jit(
        lambda actor, key: rollout(
            trainer.env, trainer.learner.act, state.patient.online, actor, jnp.asarray(0.5), key, T
        )
    )
    actor, rounds = state.actor, []
    for key in jax.random.split(jax.random.key(5), 4):
        actor, windows, _ = play(actor, key)
        rounds.append(windows)
    return trainer, state.patient.online, rounds


def test_values_of_exploration_are_drawn_with_keys_of_their_own():
    """At each step another one, and none that ε-greedy actions are drawn with."""
    env, n = vectorise(JOINT.env, E), JOINT.env.spec.n_agents
    shape, keys = (E, n, JOINT.env.spec.n_actions), jax.random.split(jax.random.key(1), T)

    def act(variables, carry, now, last_action, acting_key):
        return carry, jax.random.uniform(acting_key, shape)

    begun = start(env, jnp.zeros((E, n, 1)), jax.random.key(0))
    windows = jax.jit(partial(rollout, env, act, {}, length=T))(
        begun, jnp.zeros(()), jax.random.key(1)
    )[1]
    values = [jax.random.uniform(jax.random.fold_in(key, ACTING), shape) for key in keys]
    best = np.argmax(np.where(windows.avail_actions[:-1], values, -1), axis=-1)
    np.testing.assert_array_equal(windows.action, best)
    of_actions = [jax.random.key_data(key) for each in keys for key in jax.random.split(each)]
    own = [jax.random.key_data(jax.random.fold_in(key, ACTING)) for key in keys]
    assert len(np.unique(np.concatenate([of_actions, own]), axis=0)) == 3 * T


def test_windows_begin_with_the_last_steps_of_the_round_before():
    (_, _, plain), (trainer, online, windows) = played(0), played(M)
    assert windows[0].reward.shape == (M + T, E) and windows[0].obs.shape[0] == M + T + 1
    assert not windows[0].valid[:M].any() and windows[0].first[: M + 1].all()
    values = jax.jit(lambda batch: agent_values(trainer.learner.networks, online, batch)[0])
    for before, now, same in zip([None, *plain], windows, plain, strict=False):
        for name in ("obs", "state", "avail_actions", "first", "action", "reward", "valid"):
            ours, new = getattr(now, name), getattr(same, name)
            np.testing.assert_array_equal(ours[M:], new, err_msg=name)
            if before is not None:
                old = getattr(before, name)[T - M : T]
                np.testing.assert_array_equal(ours[:M], old, err_msg=name)
        # the carry and the actions before the head give the values that the stream had
        ours, alone = values(now)["agent"].values, values(same)["agent"].values
        np.testing.assert_allclose(ours[M:], alone, rtol=1e-5, atol=1e-6)


def test_the_optimum_is_learnt_from_each_round_alone_with_goals_of_the_network_itself():
    """By a mixer, through surgery, with the end of the round before."""
    changes = ROLLOUTS | {"mixer": "qmix", "n_envs": 16, "batch_size": 8, "window": 8}
    config = tiny_config(
        **changes | {"updates_per_round": 4}, env_steps=6_000, log_every=3_000, hidden=16,
        layer_norm=True, gamma=0.9, td_lambda=0.8, lr_decay=True, epsilon_steps=3_000, seeds=2,
        memory_window=M, encoder_layers=2, plasticity=KNIFE | {"interval": 1000},
    )  # fmt: skip
    program = build_in(partial(vectorise, JOINT.env), config)
    state, clock = program.init((0, 1)), program.clock()
    assert state.replay.reward.shape == (2, M + 8, 16)
    churn, units = [], 0
    while clock.rounds < clock.budget:
        state, clock, metrics = program.chunk(state, clock)
        surgery = jax.tree.map(np.asarray, metrics["surgery"])
        churn += [*surgery["churn_max"][surgery["fired"]]]
        units += surgery["units_operated"].sum()
    assert int(clock.updates) == 4 * int(clock.rounds)
    assert units > 0 and np.all(np.array(churn) == 0)
    online, target = state.patient.online["params"], state.patient.target["params"]
    jax.tree.map(np.testing.assert_array_equal, online, target)
    episodes = program.evaluate(state, jax.random.split(jax.random.key(7), 2), 0)
    np.testing.assert_allclose(episodes.returns.mean(axis=1), JOINT.optimal_return, atol=0.02)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 4}, "algo.batch_size=4 is refused: must divide env.n_envs=6"),
        ({"memory_window": 6}, "algo.memory_window=6 is refused: must be at most algo.window=5"),
    ],
)  # fmt: skip
def test_refusals(changes, said):
    with pytest.raises(ConfigError, match=said):
        tiny_config(**ROLLOUTS | changes)


def test_the_replay_counts_for_nothing():
    config = tiny_config(**ROLLOUTS)
    smaller = replace(config, algo=replace(config.algo, buffer_size=1))
    assert smaller.algo.stored(E) == config.algo.stored(E) == E
