"""What both sides are given."""

from __future__ import annotations

import os
from dataclasses import dataclass

from knife_jax.config.scenarios import N_PREDATORS

MPE_SCENARIOS = {f"mpe{n}": n for n in N_PREDATORS}
"""name -> size of the learning team"""


@dataclass(frozen=True)
class Settings:
    """JaxMARL's ``config/alg/ql_rnn_smax.yaml`` with 64 instead of 512 hidden units."""

    n_envs: int = 16
    window: int = 128
    """environment steps of each environment between two phases of learning"""
    hidden: int = 64
    embed: int = 64
    hyper_hidden: int = 256
    mixer_init_scale: float = 0.001
    batch: int = 32
    """windows"""
    buffer_windows: int = 1024
    """JaxMARL's 5000 would need 2 GB a side on 2s3z; what is timed does not depend on it"""
    learner_steps: int = 8
    """in a round"""
    lr: float = 5e-5
    grad_clip: float = 10.0
    gamma: float = 0.99
    reward_scale: float = 10.0
    target_period: int = 10
    """rounds"""
    total_rounds: int = 4882
    """budget of the run which the schedule of epsilon is made for"""
    epsilon_share: float = 0.1
    """share of the rounds over which epsilon falls from 1"""
    epsilon_end: float = 0.05

    @property
    def steps_per_round(self) -> int:
        return self.n_envs * self.window

    @property
    def waits(self) -> int:
        """Rounds before the first learner step."""
        return self.batch


SMAX = Settings()
MPE = Settings(
    n_envs=8,
    window=26,
    embed=32,
    hyper_hidden=128,
    learner_steps=1,
    lr=5e-3,
    grad_clip=25.0,
    gamma=0.9,
    reward_scale=1.0,
    target_period=200,
    total_rounds=48076,
)
"""``config/alg/ql_rnn_mpe.yaml``"""


@dataclass(frozen=True)
class PqnSettings:
    """JaxMARL's ``config/alg/pqn_vdn_rnn_smax.yaml``."""

    n_envs: int = 128
    window: int = 128
    """environment steps of each environment between two phases of learning"""
    memory: int = 4
    """steps of the window before that are learnt from again"""
    hidden: int = 512
    layers: int = 2
    batch_norm: bool = True
    """of the layers and of the observations; else layer normalisation, of the layers"""
    epochs: int = 4
    minibatches: int = 16
    lr: float = 2.5e-4
    """falls to 0"""
    grad_clip: float = 1.0
    gamma: float = 0.99
    lam: float = 0.85
    reward_scale: float = 10.0
    total_env_steps: int = 10_000_000
    epsilon_share: float = 0.1
    """share of the rounds over which epsilon falls from 1"""
    epsilon_end: float = 0.01

    @property
    def steps_per_round(self) -> int:
        return self.n_envs * self.window

    @property
    def learner_steps(self) -> int:
        return self.epochs * self.minibatches

    @property
    def waits(self) -> int:
        return 0

    @property
    def total_rounds(self) -> int:
        return self.total_env_steps // self.steps_per_round


def avoid_deadlock() -> None:
    """At least four threads for XLA, on fewer of which a batched QR of JaxMARL's can wait for ever.

    To be called before jax is imported; ``NPROC`` keeps what it is set to.
    """
    os.environ.setdefault("NPROC", str(max(4, os.cpu_count() or 1)))
