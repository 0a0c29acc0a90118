"""What a run over a sequence keeps of earlier tasks, and what it gains from them.

All of it is in one matrix: the score on every task at the end of every visit, a visit being the
training of one task. If a sequence repeats, its tasks are visited again. S seeds, V visits, J
tasks or visits that a measure is of, none if there are none. Scores are better the higher they are.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from knife_jax.report.continual import Scores, area, by_visit, window


def matrix(p: Scores) -> Float[np.ndarray, "S V V"]:
    """R[i, j]: the score after visit i on the task of visit j (Lopez-Paz & Ranzato 2017, §2)."""
    p = by_visit(p)
    ends = [window(p, visit)[-1] for visit in range(len(p.task))]
    return p.values[:, :, ends].swapaxes(1, 2)


def _earlier(p: Scores) -> Int[np.ndarray, "J"]:
    """The last visit of each task but the one that was trained last."""
    tasks = by_visit(p).task
    last = {task: visit for visit, task in enumerate(tasks.tolist())}
    return np.array([visit for visit in last.values() if visit < len(tasks) - 1], int)


def _first(p: Scores) -> Int[np.ndarray, "J"]:
    """The first visit of each task but the first."""
    return np.unique(by_visit(p).task, return_index=True)[1][1:]


def _again(p: Scores) -> Int[np.ndarray, "2 J"]:
    """Every visit of a task that was visited before, and the first one of that task."""
    _, first, of_task = np.unique(by_visit(p).task, return_index=True, return_inverse=True)
    first_of_each = first[of_task]
    again = np.flatnonzero(first_of_each < np.arange(len(first_of_each)))
    return np.stack([again, first_of_each[again]])


def forgetting(p: Scores) -> Float[np.ndarray, "S J"]:
    """What each task but the last lost at the end, of its best score after an earlier visit
    (Chaudhry et al. 2018, eq. 3). Their measure is the mean over the tasks."""
    r, tasks = matrix(p), _earlier(p)
    return r[:, :-1, tasks].max(axis=1, initial=-np.inf) - r[:, -1, tasks]


def backward_transfer(p: Scores) -> Float[np.ndarray, "S J"]:
    """What each task but the last gained from the end of its own last visit to the end of all.

    Lopez-Paz & Ranzato 2017, eq. 3, is the mean over the tasks.
    """
    r, tasks = matrix(p), _earlier(p)
    return r[:, -1, tasks] - r[:, tasks, tasks]


def zero_shot(p: Scores) -> Float[np.ndarray, "S J"]:
    """The score on each task but the first when its first visit begins.

    Lopez-Paz & Ranzato 2017, eq. 4, is the mean over the tasks less that of an untrained network,
    which cancels out in a difference of two methods on the same seeds.
    """
    first = _first(p)
    return matrix(p)[:, first - 1, first]


def first_areas(p: Scores) -> Float[np.ndarray, "S J"]:
    """The time average of the score over the first visit of each task but the first.

    Less that of a fresh network on the same task it is the forward transfer of Wołczyk et al. 2021,
    which they divide by what the fresh network leaves to gain (see ``continual``).
    """
    return area(by_visit(p))[:, _first(p)]


def return_scores(p: Scores) -> Float[np.ndarray, "S J"]:
    """The score at the first evaluation within each visit of a task that was visited before."""
    p = by_visit(p)
    begins = [window(p, visit)[0] for visit in range(len(p.task))]
    return p.values[:, range(len(p.task)), begins][:, _again(p)[0]]


def return_gains(p: Scores) -> Float[np.ndarray, "S J"]:
    """The time average of the score over each visit of a task that was visited before, less that
    over its first visit."""
    again, first = _again(p)
    areas = area(by_visit(p))
    return areas[:, again] - areas[:, first]
