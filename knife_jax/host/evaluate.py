"""Greedy evaluation: on which episodes, and of the policy that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from knife_jax.config.run import from_dict
from knife_jax.console.messages import say
from knife_jax.envs import contract
from knife_jax.host import compile_cache
from knife_jax.host.progress import Progress
from knife_jax.host.recording import evaluation_records
from knife_jax.host.resume import (
    OF_SHARES,
    Checkpoint,
    ResumeError,
    check_arrays,
    check_schema,
    newest,
    seeds_of,
    start,
)
from knife_jax.host.summary import results, show_evaluation
from knife_jax.parallel import devices
from knife_jax.records.checkpoint import Checkpoints, shapes, step_of, to_tree
from knife_jax.records.directory import CHECKPOINTS
from knife_jax.records.lines import ABSOLUTE, EVALUATIONS, FINAL, Record
from knife_jax.sinks.format import title
from knife_jax.training.evaluator import Episodes

if TYPE_CHECKING:
    from knife_jax.builders.program import Program
    from knife_jax.training.state import TrainState
    from knife_jax.types import PyTree

SEED = 128
"""the same for all runs, so that methods are compared on equal episodes"""

ABSOLUTE_TIMES = 10
"""how many times as many episodes the absolute metric takes (Gorsane et al. 2022)"""

Played = tuple[int, Episodes]
"""a task and some of its episodes [S, M]"""


def episode_keys(
    kind: str, seeds: Sequence[int], moment: int, part: int = 0, base: int = SEED
) -> PRNGKeyArray:
    """What decides the episodes that each seed plays, as keys [S].

    They are the seed's own, whatever other seeds are trained beside it, and differ between kinds
    of evaluations, moments and parts.
    """
    key = jax.random.key(base)
    for number in (EVALUATIONS.index(kind), moment % 2**32, part):
        key = jax.random.fold_in(key, number)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray(seeds, jnp.uint32))


def play(
    program: Program,
    state: TrainState,
    kind: str,
    seeds: Sequence[int],
    env_steps: int,
    base: int = SEED,
    times: int = 1,
) -> Iterator[Played]:
    """Play all tasks greedily, ``times`` times ``evaluation.episodes`` of each.

    Other episodes at each moment; in a sequence always the same ones. Raises ``ContractError``.
    """
    moment = env_steps if program.task_steps is None else 0
    for part in range(times):
        keys = episode_keys(kind, seeds, moment, part, base)
        for task in range(len(program.optimum)):
            episodes = devices.fetch(program.evaluate(state, keys, task))
            unfinished, unpaid = ~episodes.ended, ~np.isfinite(episodes.returns)
            contract.check(program.spec, {contract.OVERLONG: unfinished, contract.REWARD: unpaid})
            yield task, episodes


def greedy_records(
    program: Program,
    kind: str,
    seeds: Sequence[int],
    played: Iterable[Played],
    stamp: Mapping[str, Any],
) -> list[Record]:
    """Rows of what was played: one for each task and seed."""
    by_task: dict[int, list[Episodes]] = {}
    for task, episodes in played:
        by_task.setdefault(task, []).append(episodes)
    rows = []
    for task, parts in by_task.items():
        episodes = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *parts)
        has_win, optimum = program.spec.has_win, program.optimum[task]
        now = {**stamp, "task": task}
        rows += evaluation_records(kind, seeds, episodes, has_win, optimum, **now)
    return rows


def policy(program: Program, found: Checkpoint, like: PyTree) -> TrainState:
    """The state that a checkpoint holds, as far as playing needs it; ``like`` has its shapes.

    It does not depend on how the seeds were shared out. Raises ``ResumeError``.
    """
    check_arrays(found.step, found.about, shapes(like), OF_SHARES)
    begun = to_tree(found.without_shares().arrays, like)
    return program.place(begun["state"], begun["clock"])[0]


def judge(run: Path, which: str, episodes: int | None, seed: int | None) -> None:
    """Play the policy of a checkpoint of a run, and print how it did.

    ``which`` is ``newest``, ``best`` or the env steps of one. By default the episodes are those of
    the run's own final evaluation, for ``best`` those of its absolute metric; with ``episodes``
    or ``seed`` (of the episodes) they are others. Raises ``ResumeError``.
    """
    from knife_jax.builders.program import build

    devices.begin(None)
    found = _found(run, which)
    config = from_dict(found.about["config"])
    if config.compile_cache:
        compile_cache.keep()
    if episodes is not None:
        config = replace(config, evaluation=replace(config.evaluation, episodes=episodes))
    program = build(replace(config, devices=None))
    seeds = seeds_of(config)
    state = policy(program, found, jax.eval_shape(partial(start, program, seeds)))
    stamp = Progress.recalled(found.about["progress"]).stamp()
    kind = ABSOLUTE if which == "best" and episodes is None else FINAL
    times = ABSOLUTE_TIMES if kind == ABSOLUTE else 1
    base = SEED if seed is None else seed
    played = play(program, state, kind, seeds, found.step, base, times)
    rows = greedy_records(program, kind, seeds, played, stamp)
    say(f"{title(config)}, checkpoint {found.step:,} of {run}")
    say(f"greedy evaluation, {config.evaluation.episodes * times:,} episodes per seed")
    show_evaluation({"seeds": seeds, **results(rows, seeds)}, kind)
    if program.joint_values is not None:
        tables = devices.fetch(program.joint_values(state, jax.random.key(SEED)))
        for s, table in zip(seeds, tables, strict=True):
            say(f"seed {s}: values of joint actions at the start, first agent by rows")
            say("\n".join("".join(f"{value:9.3f}" for value in row) for row in table))


def _found(run: Path, which: str) -> Checkpoint:
    with closing(Checkpoints(run / CHECKPOINTS)) as stored:
        steps, only = stored.steps(), step_of(which)
        if not steps:
            raise ResumeError(f"{run} is refused: it holds no checkpoint")
        if which == "best":
            best = newest(stored, check_schema)
            if best is None or best.about["progress"]["best"] is None:
                raise ResumeError(f"--checkpoint best is refused: {run} has no evaluation yet")
            only = best.about["progress"]["best"]["env_steps"]
        elif which != "newest" and only not in steps:
            known = ", ".join(map(str, reversed(steps)))
            raise ResumeError(f"--checkpoint {which} is refused: must be newest, best, {known}")
        found = newest(stored, check_schema, only)
    if found is None:
        raise ResumeError(f"{run} has no checkpoint {only}")
    return found
