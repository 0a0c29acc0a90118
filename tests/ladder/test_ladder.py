"""Learnt values and returns in environments whose solution is known exactly."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ladder.environments import ENDLESS, JOINT, MEMORY
from tiny import seed_of, tiny_config

from knife_jax.builders.program import build_in
from knife_jax.builders.trainer import make_trainer
from knife_jax.config.mixers import MIXERS
from knife_jax.envs.base import TimeStep, vectorise
from knife_jax.training.exploration import greedy_actions
from knife_jax.training.replay import unpack

pytestmark = pytest.mark.usefixtures("networks_at_once")

SEEDS, GAMMA = 2, 0.9


def learn(rung, env_steps, **sizes):
    sizes = {"hidden": 16, "window": 8, "updates_per_round": 8} | sizes
    config = tiny_config(
        n_envs=16, env_steps=env_steps, log_every=env_steps, batch_size=16, embed=8,
        hyper_hidden=8, gamma=GAMMA, buffer_size=1024, learning_starts=1000, target_period=25,
        epsilon_steps=env_steps // 2, lr_decay=True, **sizes,
    )  # fmt: skip
    env = partial(vectorise, rung.env)
    program = build_in(env, config)
    begun = program.init(range(SEEDS)), program.clock()
    state, _, _ = program.chunk(*begun)
    episodes = program.evaluate(state, jax.random.split(jax.random.key(7), SEEDS), 0)
    return make_trainer(config, env(16)), state, episodes


def optimal_plays(rung, trainer, state, seed):
    """(learnt Q_tot, row, whether the actions taken were greedy or all are optimal) of the last
    windows played."""
    one = seed_of(state, seed)
    batch = unpack(one.replay)
    values = jax.jit(trainer.learner.values)(one.patient.online, batch)
    greedy = greedy_actions(values.agents, batch.avail_actions)[:-1]
    optimal = rung.any_action | jnp.all(greedy == batch.action, axis=-1)
    no = jnp.zeros_like(batch.valid)
    row = TimeStep(
        batch.obs[:-1], batch.state[:-1], batch.avail_actions[:-1], batch.reward, no, no, no, no
    )
    return values.q_tot, row, batch.valid & optimal


SMALL = {
    "wqmix": {"central": 16},
    "resq": {"central": 16},
    "dmix": {"samples": 4, "acting": 4},
    "rmix": {"atoms": 7},
    "qplex": {"heads": 2, "layers": 1},
}
SHORT = {"hidden": 8, "window": 4, "updates_per_round": 4}
"""for episodes of one transition"""
CLIMBS = [
    ("vdn", MEMORY),
    ("iql", ENDLESS),
    *((mixer, JOINT) for mixer in sorted(MIXERS.keys() - {"vdn", "iql"})),
]
"""what needs no mixer by the simplest one, and a game of joint actions, which neither sums nor
independent learners represent, by all others; who learns MEMORY has learnt what the first three
rungs ask for"""


@pytest.mark.parametrize(
    ("mixer", "rung"), CLIMBS, ids=[f"{mixer}-{rung.env.spec.name}" for mixer, rung in CLIMBS]
)
def test_learns_the_optimal_return_and_value(mixer, rung):
    env_steps = {JOINT: 5_000, MEMORY: 16_000, ENDLESS: 8_000}[rung]
    sizes = {JOINT: SHORT, MEMORY: {"lr": 6e-3}, ENDLESS: {}}[rung]
    sizes = sizes | SMALL.get(mixer, {})
    trainer, state, episodes = learn(rung, env_steps, mixer=mixer, **sizes)
    for seed in range(SEEDS):
        played = np.mean(episodes.returns[seed])
        assert abs(played - rung.optimal_return) <= 0.02 * max(1, rung.optimal_return)
        q_tot, row, wanted = optimal_plays(rung, trainer, state, seed)
        optimal = rung.optimal_value(row, GAMMA)
        assert jnp.sum(wanted) > 100
        error = jnp.where(wanted, jnp.abs(q_tot - optimal), 0.0)
        assert jnp.mean(error, where=wanted) < 0.05 * max(1.0, float(jnp.max(jnp.abs(optimal))))
