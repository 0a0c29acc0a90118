"""A chunk of training, over and over, and the seconds that it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from knife_jax.build import build
from knife_jax.config import Config


def trainer(config: Config, env_steps: int) -> Callable[[], float]:
    """Trains the chunk that begins at ``env_steps`` of the Clock, and says how long it took.

    Compiled, and called once, before it is returned.
    """
    program = build(config)
    begun = program.clock()._replace(env_steps=jnp.int32(env_steps))
    state, clock = program.place(program.init(range(config.num_seeds)), begun)
    run = program.chunk.lower(state, clock).compile()
    at = [state]

    def advance() -> float:
        start = time.perf_counter()
        at[0], _, metrics = run(at[0], clock)
        jax.block_until_ready(metrics)
        return time.perf_counter() - start

    advance()
    return advance


def in_turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The seconds of each side, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, advance in sides.items():
            seconds[name].append(advance())
    return seconds


def ratios(seconds: Mapping[str, list[float]], base: str) -> dict[str, float]:
    """The median over rounds of each side's seconds over those of the base, also printed."""
    out = {}
    for name, each in seconds.items():
        pairs = zip(each, seconds[base], strict=True)
        out[name] = round(statistics.median(a / b for a, b in pairs), 3)
        middle = statistics.median(each)
        print(f"{name:24s} {middle:8.2f} s a chunk, {out[name]:.3f} times that of {base}")
    return out
