"""Tiny cooperative environments, each of which needs one thing more, with their exact solutions.

In the order of the ladder: a value head, a value that depends on the observation, bootstrapping,
a joint action (with unavailable ones), memory, and bootstrapping through a time limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from knife_jax.envs.base import Env, EnvSpec, TimeStep, first_step


class Rung(NamedTuple):
    """A diagnostic environment and what a perfect learner makes of it."""

    env: Env
    optimal_return: float
    """undiscounted, expected over starts"""
    optimal_value: Callable[[TimeStep, float], Float[Array, "*E"]]
    """(row, gamma) -> discounted value of what follows, for rows that do not end an episode"""
    any_action: bool = False
    """whether all actions are optimal"""


class Play(NamedTuple):
    drawn: Array
    time: Array


def _episode(
    name: str,
    length: int,
    *,
    draw: Callable,
    observe: Callable,
    pay: Callable,
    avail_actions: np.ndarray,
    truncates: bool = False,
) -> Env:
    """``length`` transitions whose course the actions do not change, only its rewards.

    draw(key) -> drawn; observe(drawn, time) -> [N, O]; pay(drawn, time, action) -> reward of
    acting in row ``time``; avail_actions [N, A]. The state is all observations.
    """
    n_agents, n_actions = avail_actions.shape
    shape = jax.eval_shape(lambda: observe(draw(jax.random.key(0)), jnp.zeros((), jnp.int32))).shape

    def reset(key):
        play = Play(draw(key), jnp.zeros((), jnp.int32))
        obs = observe(*play)
        return play, first_step(obs, obs.reshape(-1), jnp.asarray(avail_actions))

    def step(key, play, action):
        reward = jnp.asarray(pay(*play, action), jnp.float32)
        play = play._replace(time=play.time + 1)
        obs = observe(*play)
        no, ends = jnp.zeros((), bool), play.time >= length
        row = TimeStep(
            obs=obs,
            state=obs.reshape(-1),
            avail_actions=jnp.asarray(avail_actions),
            reward=reward,
            terminated=no if truncates else ends,
            truncated=ends if truncates else no,
            first=no,
            won=no,
        )
        return play, row

    assert shape[0] == n_agents
    spec = EnvSpec(name, n_agents, n_actions, shape[1], shape[0] * shape[1], length, False)
    return Env(spec, reset, step)


def _nothing(key):
    return jnp.zeros(())


ALL_AVAILABLE = np.ones((2, 3), bool)

CONSTANT = Rung(
    _episode(
        "constant",
        1,
        draw=_nothing,
        observe=lambda drawn, time: jnp.ones((2, 1)),
        pay=lambda drawn, time, action: 1.0,
        avail_actions=ALL_AVAILABLE,
    ),
    optimal_return=1.0,
    optimal_value=lambda row, gamma: jnp.ones(row.reward.shape),
    any_action=True,
)
"""One transition, which pays 1."""

OBSERVED = Rung(
    _episode(
        "observed",
        1,
        draw=lambda key: jax.random.rademacher(key, (), jnp.float32),
        observe=lambda drawn, time: jnp.full((2, 1), drawn),
        pay=lambda drawn, time, action: drawn,
        avail_actions=ALL_AVAILABLE,
    ),
    optimal_return=0.0,
    optimal_value=lambda row, gamma: row.obs[..., 0, 0],
    any_action=True,
)
"""One transition, which pays the 1 or -1 that everyone sees."""

DELAYED = Rung(
    _episode(
        "delayed",
        3,
        draw=_nothing,
        observe=lambda drawn, time: jnp.tile(jax.nn.one_hot(time, 3), (2, 1)),
        pay=lambda drawn, time, action: time == 2,
        avail_actions=ALL_AVAILABLE,
    ),
    optimal_return=1.0,
    optimal_value=lambda row, gamma: gamma ** (2.0 - jnp.argmax(row.obs[..., 0, :], axis=-1)),
    any_action=True,
)
"""Three transitions, the last of which pays 1; everyone sees the time."""

PAYOFF = np.array([[0, 1, 20], [1, 8, 20], [20, 20, 20]], np.float32)
"""of the available actions: a monotone game that no sum of two values fits (the QMIX paper's 2B)"""

JOINT = Rung(
    _episode(
        "joint",
        1,
        draw=_nothing,
        observe=lambda drawn, time: jnp.eye(2),
        pay=lambda drawn, time, action: jnp.asarray(PAYOFF)[action[0], action[1]],
        avail_actions=np.array([[True, True, False]] * 2),
    ),
    optimal_return=8.0,
    optimal_value=lambda row, gamma: jnp.full(row.reward.shape, 8.0),
)
"""One transition, paid by a matrix; a return of 20 betrays an unavailable action."""

MEMORY_DELAY = 3
MEMORY = Rung(
    _episode(
        "memory",
        MEMORY_DELAY + 1,
        draw=lambda key: jax.random.randint(key, (2,), 0, 3),
        observe=lambda drawn, time: jnp.concatenate(
            [
                jnp.where(time == 0, jax.nn.one_hot(drawn, 3), 0.0),
                jnp.tile(jax.nn.one_hot(time, MEMORY_DELAY + 1), (2, 1)),
            ],
            axis=1,
        ),
        pay=lambda drawn, time, action: jnp.where(
            time == MEMORY_DELAY, jnp.mean(action == drawn, dtype=jnp.float32), 0.0
        ),
        avail_actions=ALL_AVAILABLE,
    ),
    optimal_return=1.0,
    optimal_value=lambda row, gamma: (
        gamma ** (1.0 * MEMORY_DELAY - jnp.argmax(row.obs[..., 0, 3:], axis=-1))
    ),
)
"""Each agent sees an action in the first row and must take it in the fourth: half the pay each.

Without memory no policy has a return above 1/3.
"""

ENDLESS_REWARD = 0.5
ENDLESS = Rung(
    _episode(
        "endless",
        7,
        draw=_nothing,
        observe=lambda drawn, time: jnp.ones((2, 1)),
        pay=lambda drawn, time, action: ENDLESS_REWARD,
        avail_actions=ALL_AVAILABLE,
        truncates=True,
    ),
    optimal_return=7 * ENDLESS_REWARD,
    optimal_value=lambda row, gamma: jnp.full(row.reward.shape, ENDLESS_REWARD / (1 - gamma)),
    any_action=True,
)
"""The same row for ever, cut after seven transitions: its value must not feel the cut."""

LADDER = (CONSTANT, OBSERVED, DELAYED, JOINT, MEMORY, ENDLESS)
