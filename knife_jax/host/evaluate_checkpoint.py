"""Greedy evaluation of the policy that a checkpoint holds: ``python -m knife_jax.evaluate``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax

from knife_jax.config.plain import from_dict
from knife_jax.config.run import Config
from knife_jax.console.messages import say
from knife_jax.host import compile_cache
from knife_jax.host.evaluate import (
    ABSOLUTE_TIMES,
    SEED,
    greedy_records,
    open_games,
    play,
    policy,
)
from knife_jax.host.progress import Progress
from knife_jax.host.show import show_evaluation
from knife_jax.host.stored import Checkpoint, find, shapes_of
from knife_jax.host.summary import results
from knife_jax.parallel import devices
from knife_jax.records.lines import ABSOLUTE, FINAL
from knife_jax.sinks.format import title
from knife_jax.types import PyTree

if TYPE_CHECKING:
    from knife_jax.builders.program import Program


def evaluate_checkpoint(run: Path, which: str, episodes: int | None, seed: int | None) -> None:
    """Play the policy of a checkpoint of a run, and print its scores.

    ``which`` is ``newest``, ``best`` or the env steps of one. By default the episodes are those of
    the run's own final evaluation, for ``best`` those of its absolute metric; with ``episodes``
    or ``seed`` (of the episodes) they are others. Raises ``ResumeError``.
    """
    config, program, state, found = stored_policy(run, which, episodes)
    seeds = config.seeds
    stamp = Progress.from_json(found.about["progress"]).stamp()
    kind = ABSOLUTE if which == "best" and episodes is None else FINAL
    times = ABSOLUTE_TIMES if kind == ABSOLUTE else 1
    base = SEED if seed is None else seed
    with open_games(program, config):
        played = play(program, state, kind, seeds, found.step, base, times)
        records = greedy_records(program, kind, seeds, played, stamp)
    say(f"{title(config)}, checkpoint {found.step:,} of {run}")
    say(f"greedy evaluation, {config.evaluation.episodes * times:,} episodes per seed")
    show_evaluation({"seeds": seeds, **results(records, seeds)}, kind)
    if program.joint_values is not None:
        tables = devices.fetch(program.joint_values(state, jax.random.key(SEED)))
        for s, table in zip(seeds, tables, strict=True):
            say(f"seed {s}: values of joint actions at the start, first agent by rows")
            say("\n".join("".join(f"{value:9.3f}" for value in row) for row in table))


class StoredPolicy(NamedTuple):
    """The policy of a checkpoint, in the program that it was trained by."""

    config: Config
    program: Program
    state: PyTree
    """as far as playing needs it"""
    found: Checkpoint


def stored_policy(run: Path, which: str, episodes: int | None = None) -> StoredPolicy:
    """Read the policy of a checkpoint; ``which`` as in ``evaluate_checkpoint``.

    ``episodes`` replaces the number of episodes of an evaluation. Raises ``ResumeError``.
    """
    from knife_jax.builders.program import build

    devices.begin(None)
    found = find(run, which)
    config = from_dict(found.about["config"])
    if config.compile_cache:
        compile_cache.keep()
    if episodes is not None:
        config = replace(config, evaluation=replace(config.evaluation, episodes=episodes))
    program = build(replace(config, devices=None))
    return StoredPolicy(config, program, policy(program, found, shapes_of(program)), found)
