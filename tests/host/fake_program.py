"""A program of known numbers in place of ``builders.program``, for the tests of the host.

Every 100 environment steps of a chunk are one round with 2 updates. Seed row s (0, 1, …) reports
return = env_steps / 100 + s, and its loss is not finite on row 1. A surgery fires in the last
round of each chunk, on 3 + s units. A probe finds rank = updates + s. The first seed number is
the first weight.

Most of the time of such a run would go into its learning curve: those of records of the same kinds
are drawn once.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from knife_jax.builders.budget import make_budget
from knife_jax.clock import Clock
from knife_jax.config.environments import SmaxConfig
from knife_jax.config.factorisation import MonotonicConfig
from knife_jax.config.run import (
    CheckpointConfig,
    Config,
    EvaluationConfig,
    LoggerConfig,
    RecordingConfig,
)
from knife_jax.envs.base import EnvSpec
from knife_jax.records.lines import Record
from knife_jax.sinks import plot
from knife_jax.training.evaluator import Episodes

ROUND, UPDATES, EPISODES = 100, 2, 7

SEEN_CLOCK: Callable[[Clock], None] | None = None
"""called with the Clock before each chunk"""

SEEN_EVALUATION: Callable[[], None] = lambda: None  # noqa: E731
"""called before each evaluation"""

DRAW = plot.draw
DRAWN: dict[frozenset, bytes] = {}
"""kinds of records with their fields, and which of these are null -> the curve of such a run"""

LOST_FROM: dict[int, int] = {}
"""seed row -> the env steps from which it is not finite"""


@struct.dataclass
class State:
    """What stands for a training state."""

    agent: Any
    replay: Any
    actor: Any


def config(**changes: Any) -> Config:
    """A run of 1000 environment steps in chunks of 200, with an evaluation every 400."""
    logger = changes.pop("logger", LoggerConfig(wandb="disabled"))
    algo = MonotonicConfig(
        name="qmix_knife", lr=1e-3, eps=1e-8, td_lambda=0.0, batch_size=2, buffer_size=2,
        updates_per_round=UPDATES, learning_starts=0, target_period=1, epsilon_steps=1,
    )  # fmt: skip
    evaluation = changes.pop("evaluation", EvaluationConfig(every=400, episodes=EPISODES))
    env = SmaxConfig(n_envs=2, scenario=changes.pop("scenario", "3m"))
    algo = replace(
        algo, **{name: changes.pop(name) for name in ("hidden", "gamma") if name in changes}
    )
    checkpoint = CheckpointConfig(
        every=changes.pop("checkpoint_every", 200_000),
        keep=changes.pop("keep", 2),
        buffer=changes.pop("buffer", "full"),
    )
    settings = {"env_steps": 1000, "log_every": 200, "seed": 5, "num_seeds": 3} | changes
    return Config(
        env=env, algo=algo, evaluation=evaluation, logger=logger, checkpoint=checkpoint,
        recording=RecordingConfig(episodes=0), **settings,
    )  # fmt: skip


def chunk_of(config: Config, before_each=lambda clock: None):
    """A jitted chunk; ``before_each`` is called on the host whenever one is run."""
    most = config.log_every // ROUND
    rows = jnp.arange(config.num_seeds)

    def chunk(state, clock):
        jax.debug.callback(before_each, clock)
        if SEEN_CLOCK:
            jax.debug.callback(SEEN_CLOCK, clock)
        rounds = jnp.minimum(most, clock.budget - clock.rounds)
        ends = clock.rounds + rounds
        after = clock._replace(rounds=ends, updates=clock.updates + UPDATES * rounds)
        env_steps = ends * ROUND
        ones = jnp.ones(config.num_seeds)
        train = {
            "return": env_steps / 100 + rows,
            "win_rate": ones * 0.25,
            "loss": jnp.where(rows == 1, jnp.nan, 0.5 + rows),
            "epsilon": ones * 0.1,
            "stagnant_pct": 10.0 * rows,
            "dormant_pct": ones * 2.5,
            "finite": env_steps < jnp.array([LOST_FROM.get(s, 10**9) for s in range(len(rows))]),
            "grafted_units": (3 + rows) * env_steps // (ROUND * most),
        }
        shape = (config.num_seeds, most)
        times = clock.rounds + 1 + jnp.arange(most)
        surgery = {
            "fired": jnp.broadcast_to(jnp.arange(most) == rounds - 1, shape),
            "rounds": jnp.broadcast_to(times, shape),
            "updates": jnp.broadcast_to(times * UPDATES, shape),
            "task": jnp.zeros(shape, int),
            "units_operated": jnp.broadcast_to(3 + rows[:, None], shape),
            "slots_used": jnp.broadcast_to(4 + rows[:, None], shape),
            "saturated_units": jnp.zeros(shape, int),
            "churn_max": jnp.broadcast_to(rows[:, None] * 1e-3, shape),
        }
        return state, after, {"train": train, "surgery": surgery, "breaches": {}, "healthy": None}

    return jax.jit(chunk, donate_argnums=0)


def drawn(records: Sequence[Record], title: str) -> bytes:
    """The learning curve of the first run with such records."""
    fields = ((r["kind"], name, value is None) for r in records for name, value in r.items())
    about = frozenset(fields)
    if about not in DRAWN:
        DRAWN[about] = DRAW(records, title)
    return DRAWN[about]


def install(monkeypatch=None, *, has_win: bool = True, before_each=lambda clock: None) -> None:
    """Make ``from knife_jax.builders.program import build`` give the fake."""

    def build(config: Config):
        s, shards = config.num_seeds, config.devices or 1
        budget = make_budget(config, ROUND)
        begun = budget.plan(Clock.zero())

        def evaluate(state, keys, task) -> Episodes:
            SEEN_EVALUATION()
            assert keys.shape == (s,)
            returns = jnp.arange(s)[:, None] * 10.0 + jnp.arange(EPISODES)
            won = jnp.arange(EPISODES)[None] < jnp.arange(s)[:, None] + 1
            yes = jnp.ones_like(won)
            return Episodes(returns, won, jnp.full((s, EPISODES), 11), yes, yes)

        def init(seeds) -> State:
            return State(
                agent={"kernel": jnp.outer(jnp.array(seeds, jnp.float32), jnp.ones(2))},
                replay={"rows": jax.random.normal(jax.random.key(0), (s, shards, 3000 // shards))},
                actor={
                    "at": jnp.arange(s * shards).reshape(s, shards),
                    "key": jax.random.split(jax.random.key(1), (s, shards)),
                },
            )

        return types.SimpleNamespace(
            spec=EnvSpec("fake", 1, 1, 1, 1, 1, has_win),
            n_params=13,
            shapes=jax.eval_shape(lambda: init(range(s))),
            mesh={"seed": 1, "data": shards},
            init=init,
            clock=lambda: jax.tree.map(jnp.array, begun),
            budget=budget,
            round_steps=ROUND,
            env_steps=budget.env_steps,
            task_steps=None,
            n_tasks=1,
            optimum=None,
            place=lambda *trees: jax.tree.map(
                lambda leaf: leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jnp.array(leaf),
                trees,
            ),
            chunk=chunk_of(config, before_each),
            freeze=lambda state, healthy: state,
            evaluate=evaluate,
            compile_evaluation=lambda state, keys: None,
            games=None,
            joint_values=None,
            probe=lambda state, clock: {"agent/srank": np.arange(s) + int(clock.updates)},
            params=lambda state: {
                "params": {"agent": state.agent},
                "grafts": {"agent": {"used": jnp.full((s, 3), 2, jnp.int32)}},
            },
        )

    module = types.ModuleType("knife_jax.builders.program")
    module.build = build  # type: ignore[attr-defined]
    if monkeypatch is None:
        sys.modules["knife_jax.builders.program"] = module
    else:
        monkeypatch.setitem(sys.modules, "knife_jax.builders.program", module)
        monkeypatch.setattr(plot, "draw", drawn)
