"""Measures of a run over a sequence of tasks, from the records of its ``metrics.jsonl`` alone.

S seeds, K tasks, P moments of evaluation. Scores are better the higher they are. If a sequence
repeats, its first pass counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Scores(NamedTuple):
    """How well every task was mastered through training: p_i(t)."""

    seeds: Int[np.ndarray, "S"]
    env_steps: Int[np.ndarray, "P"]
    trained: Int[np.ndarray, "P"]
    """the task in training up to each moment"""
    task: Int[np.ndarray, "K"]
    """the task that each row is of"""
    values: Float[np.ndarray, "S K P"]


def scores(records: Sequence[Mapping[str, Any]], name: str = "return") -> Scores:
    """The matrix of greedy evaluations of a run.

    Raises ``ValueError`` if a task was not evaluated at some moment, or no chunk ended there.
    """
    evaluated = [record for record in records if record["kind"] == "eval"]
    trained = {r["env_steps"]: r["task"] for r in records if r["kind"] == "train"}
    seeds, tasks, steps = (
        sorted({record[key] for record in evaluated}) for key in ("seed", "task", "env_steps")
    )
    points = {(r["seed"], r["task"], r["env_steps"]): r[name] for r in evaluated}
    if len(points) != len(seeds) * len(tasks) * len(steps) or not set(steps) <= set(trained):
        raise ValueError("every task must be evaluated at the same moments, when a chunk ends")
    values = [[[points[s, k, t] for t in steps] for k in tasks] for s in seeds]
    return Scores(
        np.array(seeds),
        np.array(steps),
        np.array([trained[t] for t in steps]),
        np.array(tasks),
        np.array(values),
    )


def by_visit(p: Scores) -> Scores:
    """Scores with a row for each time that a task was trained, in the order of training.

    A sequence that repeats is then a longer one: all passes count, not only the first.
    """
    rows = np.arange(p.trained.max() + 1) % p.values.shape[1]
    return p._replace(task=p.task[rows], values=p.values[:, rows])


def shared(p: Scores, other: Scores) -> tuple[Scores, Scores]:
    """Two runs on the seeds that both have; none if there are no such seeds."""
    seeds, ours, theirs = np.intersect1d(p.seeds, other.seeds, return_indices=True)
    return (
        p._replace(seeds=seeds, values=p.values[ours]),
        other._replace(seeds=seeds, values=other.values[theirs]),
    )


def window(p: Scores, task: int) -> Int[np.ndarray, "W"]:
    """Which moments lie in the training of a task. Raises ``ValueError`` if none does."""
    moments = np.flatnonzero(p.trained == task)
    if not len(moments):
        raise ValueError(f"task {task} was not trained up to an evaluation")
    return moments


def at_task_end(p: Scores) -> Float[np.ndarray, "S K"]:
    """p_i at the end of task i."""
    return np.stack([p.values[:, k, window(p, k)[-1]] for k in range(p.values.shape[1])], axis=1)


def area(p: Scores) -> Float[np.ndarray, "S K"]:
    """The time average of p_i over the training of task i."""
    n = p.values.shape[1]
    return np.stack([p.values[:, k, window(p, k)].mean(axis=1) for k in range(n)], axis=1)


def average_performance(p: Scores) -> Float[np.ndarray, "S"]:
    """The mean of all tasks' scores at the end of the run (Wołczyk et al. 2021)."""
    return p.values[:, :, -1].mean(axis=1)


def forward_transfer(p: Scores, fresh: Scores, best: float | None) -> Float[np.ndarray, "S K"]:
    """How much more area a task has than with a fresh network, seed by seed.

    As a fraction of what was left to gain, (a - b) / (best - b), with the best score there is
    (Continual World, where it is 1); with ``best=None`` as a fraction of the fresh network's area,
    (a - b) / b (MEAL).
    """
    a, b = area(p), area(fresh)
    return (a - b) / (b if best is None else best - b)


def plasticity_gap(p: Scores, fresh: Scores) -> Float[np.ndarray, "S K"]:
    """A fresh network's score at the end of each task, minus that of the run, seed by seed."""
    return at_task_end(fresh) - at_task_end(p)


def slope(over_tasks: Float[np.ndarray, "S K"]) -> Float[np.ndarray, "S"]:
    """The least-squares trend per task: a growing gap is loss of plasticity."""
    return np.polyfit(np.arange(over_tasks.shape[1]), over_tasks.T, deg=1)[0]


def recovery_time(p: Scores, fraction: float = 0.9) -> Float[np.ndarray, "S K"]:
    """Env steps from a switch until ``fraction`` of the way to the best score of the task is made.

    The way begins at the score just before the switch. NaN for the first task, which has none.
    """
    n_seeds, n_tasks, _ = p.values.shape
    out = np.full((n_seeds, n_tasks), np.nan)
    for k in range(1, n_tasks):
        moments = window(p, k)
        before = p.values[:, k, moments[0] - 1]
        course = p.values[:, k, moments]
        wanted = before + fraction * (course.max(axis=1) - before)
        reached = np.argmax(course >= wanted[:, None], axis=1)
        out[:, k] = p.env_steps[moments[reached]] - p.env_steps[moments[0] - 1]
    return out
