"""What a round of training consists of, counted in the traced program. Nothing is compiled, and no
device is needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from chunks import n_bytes
from jax.sharding import AbstractMesh
from work import executed, product_flops

from knife_jax.builders.envs import make_tasks
from knife_jax.builders.trainer import make_trainer
from knife_jax.clock import Clock
from knife_jax.config.run import Config
from knife_jax.nets.graft import with_open_slots
from knife_jax.parallel.shards import AXIS, SAME, Shards
from knife_jax.training import chunk, replay, updates
from knife_jax.training.rollout import rollout
from knife_jax.training.state import TrainState
from knife_jax.types import PyTree

EXCHANGES = ("psum", "psum_invariant", "pmax", "all_gather")
"""primitives by which shards exchange a message"""


class Counts(NamedTuple):
    """Of a round of one seed, or of its part on one of the devices that it is split over."""

    steps: int
    """of each environment, one after the other"""
    updates: int
    """gradient steps, one after the other"""
    passes: int
    """of the loops within gradient steps, one after the other"""
    flops: int
    """operations of matrix products"""
    bytes: int
    """that matrix products read and write, caches aside"""
    made: int
    """bytes of all results of matrix products in one gradient step"""
    moved: int
    """bytes of the windows that are played and stored, and of those drawn to learn from"""
    replay: int
    """its bytes"""
    state: int
    """bytes of all that training keeps, the replay included"""
    messages: int
    """that shards exchange"""
    message_bytes: int


def counts(config: Config, shards: int) -> Counts:
    """What a round of one seed is on each of so many devices, before its first surgery."""
    tasks = make_tasks(config.env, (config.seed,))
    own = jax.tree.map(lambda leaf: leaf[0], tasks.own)
    env = tasks.env(0, config.env.n_envs // shards)
    t = make_trainer(config, env, tasks, Shards(shards))
    of_shard = partial(
        jax.shard_map, mesh=AbstractMesh((shards,), (AXIS,)), in_specs=SAME, out_specs=SAME,
        check_vma=False,
    )  # fmt: skip

    def play(state: TrainState, clock: Clock, key: PyTree) -> PyTree:
        online = with_open_slots(state.patient.online, 0)
        _, windows, _ = rollout(
            t.env, t.learner.act, online, state.actor, t.epsilon(clock), key, t.length
        )
        return replay.pack(windows)

    def learn(state: TrainState, clock: Clock, keys: PyTree) -> PyTree:
        after, _, sums, surgeries = updates.learn(t, state, clock, clock, keys)
        return after, sums.numbers, surgeries

    key, clock = jax.eval_shape(lambda: jax.random.key(0)), jax.eval_shape(Clock.zero)
    keys = jax.eval_shape(partial(jax.random.split, num=updates.n_keys(t)), key)
    state = jax.eval_shape(of_shard(lambda key: chunk.init(t, key, own)), key)
    playing, windows = counted(of_shard(play), state, clock, key)
    learning, _ = counted(of_shard(learn), state, clock, keys)
    return Counts(
        steps=t.length,
        updates=t.updates,
        passes=learning["passes"],
        flops=playing["flops"] + learning["flops"],
        bytes=playing["bytes"] + learning["bytes"],
        made=learning["made"] // t.updates,
        moved=n_bytes(windows) * (env.n_envs + t.updates * t.batch) // env.n_envs,
        replay=n_bytes(state.replay),
        state=n_bytes(state),
        messages=learning["messages"],
        message_bytes=learning["message_bytes"],
    )


def counted(f: Callable, *args: Any) -> tuple[dict[str, int], PyTree]:
    """Those of ``Counts`` that a program says, of all that is surely done in one call, and the
    shapes of its results."""
    names = ["passes", "flops", "bytes", "made", "messages", "message_bytes"]
    total = dict.fromkeys(names, 0)
    program, shapes = jax.make_jaxpr(f, return_shape=True)(*args)
    for eqn, times in executed(program.jaxpr):
        read, made = _bytes(eqn.invars), _bytes(eqn.outvars)
        if eqn.primitive.name == "dot_general":
            total["flops"] += times * product_flops(eqn)
            total["bytes"] += times * (read + made)
            total["made"] += times * made
        elif eqn.primitive.name in EXCHANGES:
            total["messages"] += times
            total["message_bytes"] += times * made
        elif eqn.primitive.name == "scan":
            total["passes"] += times * eqn.params["length"]
    return total, shapes


def _bytes(variables: list[Any]) -> int:
    """Of arrays of numbers; keys count as nothing."""
    shapes = [each.aval for each in variables]
    return sum(
        math.prod(shape.shape) * shape.dtype.itemsize
        for shape in shapes
        if not jnp.issubdtype(shape.dtype, jax.dtypes.prng_key)
    )
