"""Train in an environment of your own: two agents on a line must meet.

    python experiments/examples/own_environment.py [FIELD=VALUE ...]

Three parts make an environment: pure functions (``Env``), a section with its fields, and an entry
of ``ENVS`` that joins them. What ``env=meeting`` stands for is in ``configs/env/meeting.yaml``.
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp

import knife_jax
from knife_jax import envs
from knife_jax.config.schema import Count, choice


def meeting(length: int) -> envs.Env:
    """Actions are left, stay, right; the team gets 1 when it meets. Agents see both places."""

    def see(place):
        one_hot = jax.nn.one_hot(place, length)
        obs = jnp.stack([one_hot.reshape(-1), one_hot[::-1].reshape(-1)])  # the own place first
        return obs, one_hot.reshape(-1), jnp.ones((2, 3), bool)

    def reset(key):
        place = jax.random.choice(key, length, (2,), replace=False)
        return (place, jnp.int32(0)), envs.first_step(*see(place))

    def step(key, state, action):
        place, steps = jnp.clip(state[0] + action - 1, 0, length - 1), state[1] + 1
        met, no = place[0] == place[1], jnp.zeros((), bool)
        late = ~met & (steps >= 2 * length)
        return (place, steps), envs.TimeStep(*see(place), 1.0 * met, met, late, first=no, won=met)

    size = 2 * length  # of an observation, of the state, and the longest episode
    return envs.Env(envs.EnvSpec("meeting", 2, 3, size, size, size, True), reset, step)


@dataclass(frozen=True, kw_only=True)
class MeetingConfig(envs.EnvConfig):
    name: Annotated[str, choice("meeting"), "label"] = "meeting"
    length: Annotated[Count, "cells of the line"] = 7


def make(length: int) -> envs.Tasks:
    return envs.single(partial(envs.vectorise, meeting(length)))


envs.ENVS["meeting"] = envs.Entry(MeetingConfig, f"{__name__}:make")

if __name__ == "__main__":
    words = "env=meeting", "preset=continual", "algo=qmix", *sys.argv[1:]
    config = knife_jax.compose(*words, config_dir=Path(__file__).parent / "configs")
    sys.exit(knife_jax.train(config))
