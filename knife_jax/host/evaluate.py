"""Greedy evaluation: on which episodes, and the records of what was played."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, UInt32

from knife_jax.envs import contract
from knife_jax.host.recording import evaluation_records
from knife_jax.host.run import RunState
from knife_jax.host.stored import PER_SHARD, Checkpoint, check_arrays
from knife_jax.parallel import devices
from knife_jax.records.arrays import shapes, to_tree
from knife_jax.records.lines import EVAL, EVALUATIONS, Record
from knife_jax.sinks.base import FanOut
from knife_jax.training.evaluator import Episodes
from knife_jax.types import PyTree

if TYPE_CHECKING:
    from knife_jax.builders.player import Greedy
    from knife_jax.builders.program import Program
    from knife_jax.config.run import Config

SEED = 128
"""of the episodes of all runs, so that methods are compared on equal ones"""

ABSOLUTE_TIMES = 10
"""how many times as many episodes the absolute metric takes (Gorsane et al. 2022)"""

Played = tuple[int, Episodes]
"""a task and some of its episodes [S, M]"""


def episode_keys(
    kind: str, seeds: Sequence[int], moment: int, part: int = 0, base: int = SEED
) -> Key[Array, "S"]:
    """The keys [S] of the episodes that each seed plays.

    A seed's key does not depend on the other seeds; keys differ between kinds of evaluations,
    moments and parts.
    """
    told = jnp.array([EVALUATIONS.index(kind), moment % 2**32, part], jnp.uint32)
    return _folded(jax.random.key(base), told, jnp.array(seeds, jnp.uint32))


@jax.jit
def _folded(
    key: Key[Array, ""], numbers: UInt32[Array, "3"], seeds: UInt32[Array, "S"]
) -> Key[Array, "S"]:
    for number in numbers:
        key = jax.random.fold_in(key, number)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, seeds)


def played_keys(
    program: Program | Greedy,
    kind: str,
    seeds: Sequence[int],
    env_steps: int,
    part: int = 0,
    base: int = SEED,
) -> Key[Array, "S"]:
    """The keys [S] of the episodes that ``play`` plays."""
    moment = env_steps if program.task_steps is None else 0
    if program.games is not None:  # which take minutes, and are equal for all seeds
        seeds = [0] * len(seeds)
    return episode_keys(kind, seeds, moment, part, base)


def play(
    program: Program | Greedy,
    state: PyTree,
    kind: str,
    seeds: Sequence[int],
    env_steps: int,
    base: int = SEED,
    times: int = 1,
) -> Iterator[Played]:
    """Play all tasks greedily, ``times`` times ``evaluation.episodes`` of each.

    The episodes of each moment differ; those of a sequence of tasks do not. Raises
    ``ContractError`` for an episode that outlasts the horizon or a return that is not finite.
    """
    for part in range(times):
        keys = played_keys(program, kind, seeds, env_steps, part, base)
        for task in range(program.n_tasks):
            episodes = devices.fetch(program.evaluate(state, keys, task))
            unfinished, unpaid = ~episodes.ended, ~np.isfinite(episodes.returns)
            contract.check(program.spec, {contract.OVERLONG: unfinished, contract.REWARD: unpaid})
            yield task, episodes


@contextmanager
def open_games(program: Program | Greedy, config: Config) -> Iterator[None]:
    """Let its games outside of jax, if it has any, be evaluated within the block."""
    if program.games is None:
        yield
        return
    try:
        program.games.open(config, None, training=False)
        yield
    finally:
        program.games.close()


def compile_evaluation(program: Program, like: PyTree, seeds: Sequence[int]) -> None:
    """Compile what evaluations need while training; ``like`` has the shapes of the state."""
    program.compile_evaluation(like, played_keys(program, EVAL, seeds, 0))


def joined(played: Iterable[Played]) -> dict[int, Episodes]:
    """All that was played of each task: episodes [S, M]."""
    by_task: dict[int, list[Episodes]] = {}
    for task, episodes in played:
        by_task.setdefault(task, []).append(episodes)
    return {
        task: jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *parts)
        for task, parts in by_task.items()
    }


def greedy_records(
    program: Program | Greedy,
    kind: str,
    seeds: Sequence[int],
    played: Iterable[Played],
    stamp: Mapping[str, Any],
) -> list[Record]:
    """Records of what was played: one for each task and seed."""
    records = []
    for task, episodes in joined(played).items():
        has_win, now = program.spec.has_win, {**stamp, "task": task}
        optimum = None if program.optimum is None else program.optimum[:, task]
        records += evaluation_records(kind, seeds, episodes, has_win, optimum, **now)
    return records


def evaluate(run: RunState, sinks: FanOut) -> bool:
    """Play greedily and write the records. Returns whether it was the best evaluation so far."""
    info, progress = run.info, run.info.progress
    if run.evaluation is not None:
        wait([run.evaluation])  # what it could not compile fails again where it is needed
    played = play(run.program, run.state, EVAL, info.seeds, progress.env_steps)
    records = greedy_records(run.program, EVAL, info.seeds, played, progress.stamp())
    records = [record for record in records if record["seed"] not in progress.frozen]
    sinks.write(records)
    return progress.note_evaluation(records)


def policy(program: Program, found: Checkpoint, like: PyTree) -> PyTree:
    """The state that a checkpoint holds, as far as playing needs it; ``like`` has its shapes.

    It does not depend on how seeds were split over devices. Raises ``ResumeError``.
    """
    check_arrays(found.step, found.about, shapes(like), PER_SHARD)
    begun = to_tree(found.without_shards().arrays, like)
    return program.place(begun["state"], begun["clock"])[0]
