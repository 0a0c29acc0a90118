"""A chunk of training, over and over, and the seconds that it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from timing import Spent

from knife_jax.builders.program import Program, build
from knife_jax.clock import NEVER, Clock
from knife_jax.config.run import Config
from knife_jax.training.state import TrainState
from knife_jax.types import PyTree

Time = TypeVar("Time")


class Training(NamedTuple):
    """A program with its chunk compiled, and the present training state of all its seeds."""

    program: Program
    run: Any
    """the compiled chunk, (state, clock) -> (state, clock, metrics), the state donated"""
    state: TrainState
    clock: Clock
    compiling: Spent
    """what tracing and compiling took"""

    def until(self, env_steps: int) -> Training:
        """The same after so many environment steps, and at least one chunk."""
        state, clock, metrics = self.run(self.state, self.clock)
        while int(clock.rounds) * self.program.round_steps < env_steps:
            state, clock, metrics = self.run(state, clock)
        jax.block_until_ready(metrics)
        return self._replace(state=state, clock=clock)

    def runner(self) -> Callable[[], Any]:
        """Trains one more chunk at every call, from a copy of the present state."""
        at = [jax.tree.map(lambda leaf: leaf.copy(), self.state), self.clock]

        def again() -> Any:
            *at[:], metrics = self.run(*at)
            return metrics

        return again


def training(config: Config, env_steps: int = 0) -> Training:
    """The chunk of a configuration, compiled, with the Clock at ``env_steps``."""
    program = build(config)
    begun = endless(program, env_steps // program.round_steps)
    state, clock = program.place(program.init(range(config.num_seeds)), begun)
    start, cpu = time.perf_counter(), time.process_time()
    run = program.chunk.lower(state, clock).compile()
    compiling = Spent(time.perf_counter() - start, time.process_time() - cpu)
    return Training(program, run, state, clock, compiling)


def endless(program: Program, rounds: int = 0) -> Clock:
    """The Clock of a program after so many rounds, with a budget that timings do not use up."""
    return program.clock()._replace(rounds=jnp.int32(rounds), budget=jnp.int32(NEVER))


def trainer(config: Config, env_steps: int) -> Callable[[], float]:
    """Trains the chunk that begins at ``env_steps`` of the Clock, and says how long it took.

    Compiled, and called once, before it is returned.
    """
    begun = training(config, env_steps)
    at = [begun.state]

    def advance() -> float:
        start = time.perf_counter()
        at[0], _, metrics = begun.run(at[0], begun.clock)
        jax.block_until_ready(metrics)
        return time.perf_counter() - start

    advance()
    return advance


def program_bytes(run: Any) -> int:
    """Memory that a compiled program needs at once, arguments and results included."""
    memory = run.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return held - memory.alias_size_in_bytes + memory.temp_size_in_bytes


def n_bytes(tree: PyTree) -> int:
    """Of all arrays in it, or of what is only their shapes."""
    arrays = [
        leaf
        for leaf in jax.tree.leaves(tree)
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    ]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in arrays)


def in_turns(sides: Mapping[str, Callable[[], Time]], rounds: int) -> dict[str, list[Time]]:
    """What each side says that it took, round by round."""
    seconds: dict[str, list[Time]] = {name: [] for name in sides}
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
