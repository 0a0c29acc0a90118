"""Recordings: of a run at its end, and by ``python -m knife_jax.watch``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from knife_jax.config.run import Config
from knife_jax.config.schema import ConfigError
from knife_jax.console.messages import one_line, say, warn
from knife_jax.host.evaluate import ABSOLUTE_TIMES, open_games, played_keys
from knife_jax.host.evaluate_checkpoint import stored_policy
from knife_jax.host.progress import Progress
from knife_jax.host.recording import evaluation_records
from knife_jax.host.run import RunInfo
from knife_jax.recordings.contents import About, contents
from knife_jax.recordings.film import film
from knife_jax.recordings.marks import Team, team_of
from knife_jax.recordings.page import page
from knife_jax.records.directory import METRICS, RECORDING, write
from knife_jax.records.lines import ABSOLUTE, FINAL, Record, read_records
from knife_jax.sinks.format import brief
from knife_jax.training.recorder import Recorded
from knife_jax.types import PyTree

if TYPE_CHECKING:
    from knife_jax.builders.program import Program


Form = Literal["html", "gif", "mp4"]


class PolicyRef(NamedTuple):
    """Which policy of a run is watched, and on which of its evaluations."""

    seed: int
    env_steps: int
    task: int
    kind: str = FINAL
    """``ABSOLUTE`` for the best policy"""


def watch(
    run: Path, which: str, episodes: int, form: Form, out: Path | None, seed: int | None
) -> None:
    """Record episodes of a checkpoint's policy, and print where they are.

    ``which`` is ``newest``, ``best`` or the env steps of one; ``seed`` is one of the run's, the
    first by default. An mp4 needs the extra ``video``. Raises ``ResumeError`` and ``ConfigError``.
    """
    config, program, state, found = stored_policy(run, which)
    seeds, most = config.seeds, config.evaluation.episodes
    if seed is not None and seed not in seeds:
        known = f"from {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
        raise ConfigError(f"--seed {seed} is refused: must be {known}")
    if episodes > most:
        raise ConfigError(f"--episodes {episodes} is refused: must be at most {most}")
    progress = Progress.from_json(found.about["progress"])
    mine = seeds[0] if seed is None else seed
    kind = ABSOLUTE if which == "best" else FINAL
    ref = PolicyRef(mine, found.step, _task(program, progress), kind)
    team = team_of(state, seeds.index(mine))
    metrics = run / METRICS
    with open_games(program, config):
        records = read_records(metrics) if metrics.exists() else []
        recorded, about = _recording(program, config, team, ref, episodes, records)
    part = "" if which == "newest" else f"-{which}"
    part += "" if seed is None else f"-seed{seed}"
    target = out or run / f"recording{part}.{form}"
    began, n_frames = time.perf_counter(), int(np.sum(recorded.episodes.lengths[:episodes] + 1))
    packed = contents(recorded, program.spec, program.view, team, about)
    made = page(about.title, packed).encode() if form == "html" else film(packed, form)
    try:
        write(target, made)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror or error}") from None
    say(f"{about.title}, {about.subtitle}")
    say(about.note)
    took = 1000 * (time.perf_counter() - began) / n_frames
    say(f"{target}: {len(made) / 1e6:.2f} MB, {n_frames} frames, each made in {brief(took)} ms")


class Ending(NamedTuple):
    """What is needed of a trained run to record it, once its arrays are gone."""

    program: Program
    team: Team
    ref: PolicyRef


def ending_of(program: Program, state: PyTree, info: RunInfo) -> Ending | None:
    """Keep the first seed that has not diverged; to be called by all processes of a run.

    None if nothing is to be recorded, or, after one warning, if it cannot be.
    """
    progress = info.progress
    seeds = [seed for seed in info.seeds if seed not in progress.frozen]
    if not info.config.recording.episodes or not seeds:
        return None
    try:
        team = team_of(state, info.seeds.index(seeds[0]))
    except Exception as error:
        warn(f"no {RECORDING}: {one_line(error)}")
        return None
    return Ending(program, team, PolicyRef(seeds[0], progress.env_steps, _task(program, progress)))


def leave_recording(ending: Ending, info: RunInfo) -> Path | None:
    """Write ``recording.html``; None, after one warning, if it cannot be made."""
    if jax.process_index() != 0:
        return None
    config, target = info.config, info.folder / RECORDING
    try:
        kept = min(config.recording.episodes, config.evaluation.episodes)
        records = read_records(info.folder / METRICS)
        program, team, ref = ending
        recorded, about = _recording(program, config, team, ref, kept, records)
        packed = contents(recorded, program.spec, program.view, team, about)
        write(target, page(about.title, packed).encode())
    except Exception as error:  # whatever it is, the run is complete without
        warn(f"no {RECORDING}: {one_line(error)}")
        return None
    return target


def _task(program: Program, progress: Progress) -> int:
    return progress.task % program.n_tasks


def _recording(
    program: Program,
    config: Config,
    team: Team,
    ref: PolicyRef,
    episodes: int,
    records: Sequence[Record],
) -> tuple[Recorded, About]:
    """Play the episodes, and say which they are."""
    (key,) = played_keys(program, ref.kind, [ref.seed], ref.env_steps)
    played = program.record(team.variables, key, jnp.int32(ref.task), team.tasks, episodes)
    if program.games is not None:
        program.games.check()
    recorded = jax.device_get(played)
    about = About(
        title=f"{config.env.title()}, {config.algo.name}",
        subtitle=f"seed {ref.seed}, greedy policy of {ref.env_steps:,} env steps",
        note=_note(program, config, recorded, ref, records),
        gamma=config.algo.gamma,
        reward_scale=config.algo.reward_scale,
        stagnant=config.plasticity.stagnation().threshold,
    )
    return recorded, about


def _note(
    program: Program,
    config: Config,
    recorded: Recorded,
    ref: PolicyRef,
    records: Sequence[Record],
) -> str:
    """Which episodes these are, and whether all of them came out as in the run's records."""
    kept, all_ = recorded.decisions.q_tot.shape[1], config.evaluation.episodes
    is_best = ref.kind == ABSOLUTE
    total, what = (
        (ABSOLUTE_TIMES * all_, "absolute metric") if is_best else (all_, "final evaluation")
    )
    task = f", task {ref.task + 1} of {n}" if (n := program.n_tasks) > 1 else ""
    note = f"The first {kept} of the {total:,} episodes of the {what}{task}."
    same = {"seed": ref.seed, "env_steps": ref.env_steps, "task": ref.task}
    stored = [r["return"] for r in records if r["kind"] == FINAL and same.items() <= r.items()]
    if is_best or not stored or len(recorded.episodes.returns) != all_:
        return note
    episodes = jax.tree.map(lambda leaf: leaf[None], recorded.episodes)
    (again,) = evaluation_records(FINAL, [ref.seed], episodes, program.spec.has_win)
    said, known = (brief(value) for value in (again["return"], stored[0]))
    if again["return"] == stored[0]:
        return f"{note} Played again, all {all_:,} have the mean return of the record, {known}."
    return (
        f"{note} Played again, all {all_:,} have a mean return of {said}, not the record's "
        f"{known}: another program rounds otherwise."
    )
