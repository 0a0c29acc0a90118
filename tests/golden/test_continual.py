"""Continual measures by hand: two seeds, three tasks, two evaluations in each."""

import numpy as np
import pytest

from knife_jax.report import continual

# seed 0, then seed 1: p_i(t) for t = 10 … 60, tasks change after 20 and 40
FIRST = [[2, 4, 3, 3, 2, 1], [0, 0, 5, 6, 6, 6], [1, 1, 1, 2, 4, 8]]
SECOND = [[4, 8, 6, 6, 4, 2], [1, 1, 1, 3, 3, 2], [0, 2, 0, 2, 2, 2]]
FRESH = [[2, 4, 0, 0, 0, 0], [0, 0, 4, 8, 0, 0], [0, 0, 0, 0, 6, 10]]


def rows(*seeds, name="return"):
    out = []
    for j in range(6):
        now = {"env_steps": 10 * (j + 1), "updates": j}
        for s, matrix in enumerate(seeds):
            out.append({"kind": "train", "seed": s, "task": j // 2, "return": -7.0, **now})
            out += [
                {"kind": "eval", "seed": s, "task": k, name: float(course[j]), **now}
                for k, course in enumerate(matrix)
            ]
    return out


@pytest.fixture
def run():
    return continual.scores(rows(FIRST, SECOND))


@pytest.fixture
def fresh():
    return continual.scores(rows(FRESH, FRESH))


def test_the_matrix_is_read_from_the_rows(run):
    np.testing.assert_array_equal(run.values, [FIRST, SECOND])
    assert run.env_steps.tolist() == [10, 20, 30, 40, 50, 60]
    assert run.trained.tolist() == [0, 0, 1, 1, 2, 2] and run.seeds.tolist() == [0, 1]
    other = continual.scores(rows(SECOND, name="win_rate"), "win_rate")
    np.testing.assert_array_equal(other.values[0], SECOND)


def test_scores_of_tasks_by_hand(run):
    np.testing.assert_array_equal(continual.at_task_end(run), [[4, 6, 8], [8, 3, 2]])
    np.testing.assert_array_equal(continual.area(run), [[3, 5.5, 6], [6, 2, 2]])
    np.testing.assert_array_equal(continual.average_performance(run), [5, 2])


def test_comparisons_with_fresh_networks_by_hand(run, fresh):
    np.testing.assert_array_equal(continual.area(fresh)[0], [3, 6, 8])
    gap = continual.plasticity_gap(run, fresh)
    np.testing.assert_array_equal(gap, [[0, 2, 2], [-4, 5, 8]])
    np.testing.assert_allclose(continual.slope(gap), [1, 6])
    share = continual.forward_transfer(run, fresh, best=None)
    np.testing.assert_allclose(share, [[0, -0.5 / 6, -0.25], [1, -4 / 6, -0.75]])
    left = continual.forward_transfer(run, fresh, best=10.0)
    np.testing.assert_allclose(left, [[0, -0.5 / 4, -1], [3 / 7, -1, -3]])


def test_recovery_by_hand(run):
    """Seed 0, task 1: from 0 to 6, and 5 is less than 5.4. Task 2: from 2 to 8, 4 is less."""
    times = continual.recovery_time(run)
    assert np.isnan(times[:, 0]).all()
    np.testing.assert_array_equal(times[:, 1:], [[20, 20], [20, 10]])
    np.testing.assert_array_equal(continual.recovery_time(run, 0.8)[:, 1:], [[10, 20], [20, 10]])


def test_repetitions_do_not_change_the_first_pass():
    again = [{**row, "env_steps": row["env_steps"] + 60} for row in rows(FIRST)]
    again = [row | ({"task": row["task"] + 3} if row["kind"] == "train" else {}) for row in again]
    p = continual.scores(rows(FIRST) + again)
    assert p.trained.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    np.testing.assert_array_equal(continual.at_task_end(p), [[4, 6, 8]])


def test_rows_that_cannot_be_compared_are_refused(run):
    with pytest.raises(ValueError, match="evaluated at the same moments"):
        continual.scores(rows(FIRST)[:-1])
    short = run._replace(
        env_steps=run.env_steps[:4], trained=run.trained[:4], values=run.values[..., :4]
    )
    with pytest.raises(ValueError, match="task 2 was not trained"):
        continual.area(short)
