"""Greedy evaluation: on which episodes, and of the policy that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import jax
from jaxtyping import PRNGKeyArray

from knife_jax.config import from_dict
from knife_jax.host import compile_cache, devices
from knife_jax.host.checkpoint import Checkpoints, shapes, to_tree
from knife_jax.host.progress import Progress
from knife_jax.host.readout import title
from knife_jax.host.resume import (
    OF_SHARES,
    Found,
    ResumeError,
    check_arrays,
    check_schema,
    newest,
    seeds_of,
    start,
)
from knife_jax.host.rows import Row, evaluation_rows
from knife_jax.host.run import CHECKPOINTS
from knife_jax.host.summary import results, show_evaluation
from knife_jax.messages import say

if TYPE_CHECKING:
    from knife_jax.build import Program
    from knife_jax.types import TrainState

SEED = 128
"""all seeds of all runs are judged on the same episodes, others at each evaluation"""


def evaluation_key(env_steps: int, seed: int = SEED) -> PRNGKeyArray:
    """What decides the episodes of the evaluation at a moment."""
    return jax.random.fold_in(jax.random.key(seed), env_steps)


def greedy_rows(
    program: Program, state: TrainState, seeds: Sequence[int], progress: Progress, seed: int = SEED
) -> list[Row]:
    """Rows of a greedy evaluation. In a sequence all tasks are judged, always on equal episodes."""
    key = evaluation_key(progress.env_steps if program.task_steps is None else 0, seed)
    rows = []
    for task, optimum in enumerate(program.optimum):
        played = devices.fetch(program.evaluate(state, key, task))
        stamp = progress.stamp() | {"task": task}
        rows += evaluation_rows(seeds, played, program.spec.has_win, optimum, **stamp)
    return rows


def judge(run: Path, which: str, episodes: int | None, seed: int | None) -> None:
    """Play the policy of a checkpoint of a run, and print how it did.

    ``which`` is ``newest``, ``best`` or the env steps of one. Raises ``ResumeError``.
    """
    from knife_jax.build import build

    devices.begin(None)
    found = _found(run, which)
    config = from_dict(found.about["config"])
    if config.compile_cache:
        compile_cache.keep()
    if episodes is not None:
        config = replace(config, evaluation=replace(config.evaluation, episodes=episodes))
    program = build(replace(config, devices=None))
    seeds = seeds_of(config)
    like = jax.eval_shape(partial(start, program, seeds))
    # the policy does not depend on how its seeds were shared out
    check_arrays(found.step, found.about, shapes(like), OF_SHARES)
    begun = to_tree(found.without_shares().arrays, like)
    state, _ = program.place(begun["state"], begun["clock"])
    progress = Progress.recalled(found.about["progress"])
    rows = greedy_rows(program, state, seeds, progress, SEED if seed is None else seed)
    say(f"{title(config)}, checkpoint {found.step:,} of {run}")
    say(f"greedy evaluation, {config.evaluation.episodes} episodes per seed")
    show_evaluation({"seeds": seeds, **results(rows, seeds, found.step)})
    if program.joint_values is not None:
        tables = devices.fetch(program.joint_values(state, evaluation_key(0)))
        for s, table in zip(seeds, tables, strict=True):
            say(f"seed {s}: values of joint actions at the start, first agent by rows")
            say("\n".join("".join(f"{value:9.3f}" for value in row) for row in table))


def _found(run: Path, which: str) -> Found:
    with closing(Checkpoints(run / CHECKPOINTS)) as stored:
        steps = stored.steps()
        only = int(which) if which.isdigit() else None
        if which == "best" and steps:
            best = newest(stored, check_schema)
            if best is None or best.about["progress"]["best"] is None:
                raise ResumeError(f"--checkpoint best is refused: {run} has no evaluation yet")
            only = best.about["progress"]["best"]["env_steps"]
        elif which != "newest" and only not in steps:
            known = ", ".join(map(str, reversed(steps)))
            raise ResumeError(f"--checkpoint {which} is refused: must be newest, best, {known}")
        found = newest(stored, check_schema, only)
    if found is None:
        raise ResumeError(f"{run} has no checkpoint {'' if only is None else only}".rstrip())
    return found
