"""What the benchmarks of environment steps share: their options, and where they ran."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from knife_jax.envs.base import VecEnv


def options(doc: str | None, n_envs: int, rounds: int) -> argparse.ArgumentParser:
    """Options of all of them, under the first line of a script's ``doc``."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--n-envs", type=int, default=n_envs)
    parser.add_argument("--steps", type=int, default=200, help="steps in one timed run")
    parser.add_argument("--rounds", type=int, default=rounds, help="timed runs of each")
    parser.add_argument("--quick", action="store_true", help="50 steps, 3 rounds")
    return parser


def length(args: argparse.Namespace) -> tuple[int, int]:
    """Steps in a timed run, and timed runs."""
    return (50, 3) if args.quick else (args.steps, args.rounds)


def random_available(uniform: jax.Array, avail_actions: jax.Array) -> jax.Array:
    """The available action [...] that a uniform number in [0, 1) picks from [..., A]."""
    rank = jnp.cumsum(avail_actions.astype(jnp.int32), axis=-1)
    wanted = (uniform * rank[..., -1]).astype(jnp.int32)
    return jnp.argmax(rank > wanted[..., None], axis=-1).astype(jnp.int32)


def random_play(env: VecEnv, n_steps: int) -> Callable[[], None]:
    """``n_steps`` steps of random available actions under one jit."""
    start = jax.jit(env.reset)(jax.random.key(1))
    uniform = jax.random.uniform(jax.random.key(0), (n_steps, env.n_envs, env.spec.n_agents))

    @jax.jit
    def steps(start, uniform):
        def body(carry, number):
            state, now = carry
            return env.step(state, random_available(number, now.avail_actions)), None

        return jax.lax.scan(body, start, uniform)[0]

    return lambda: jax.block_until_ready(steps(start, uniform))


def where() -> dict[str, Any]:
    """The end of every record."""
    return {
        "backend": jax.default_backend(),
        "cpus": os.cpu_count(),
        "jax": jax.__version__,
        "machine": platform.machine(),
    }
