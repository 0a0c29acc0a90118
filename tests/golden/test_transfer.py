"""What is kept of earlier tasks, by hand: A B C A B, two evaluations a visit."""

import json

import numpy as np
import pytest

from knife_jax.report import transfer
from knife_jax.report.continual import Scores, by_visit
from knife_jax.report.table import kept

A = [2, 4, 5, 3, 3, 1, 6, 8, 7, 5]
B = [0, 1, 3, 7, 6, 2, 2, 4, 5, 6]
C = [1, 1, 2, 2, 6, 9, 8, 8, 9, 8]
"""at the end of visits: A 4 3 1 8 5, B 1 7 2 4 6, C 1 2 9 8 8"""
VISITS = [0, 1, 2, 3, 4]


def run(visits=5, *seeds):
    """That of so many visits, of A B C A B and of seeds with other scores."""
    moments = 2 * visits
    values = np.array([[A, B, C], *seeds], float)[:, :, :moments]
    steps = np.arange(1, moments + 1) * 10
    trained = np.repeat(VISITS, 2)[:moments]
    return Scores(np.arange(len(values)), steps, trained, np.arange(3), values)


@pytest.fixture(params=["tasks", "visits"])
def p(request):
    """With a row for each task, and with one for each visit."""
    return run() if request.param == "tasks" else by_visit(run())


def test_the_matrix_has_a_row_after_each_visit(p):
    np.testing.assert_array_equal(
        transfer.matrix(p)[0],
        [[4, 1, 1, 4, 1], [3, 7, 2, 3, 7], [1, 2, 9, 1, 2], [8, 4, 8, 8, 4], [5, 6, 8, 5, 6]],
    )


def test_measures_of_a_sequence_that_comes_back(p):
    """B is trained last. Of A the best earlier score is 8 and of C 9, at the ends of their own
    last visits. B was at 1 when it first began, C at 2."""
    np.testing.assert_array_equal(transfer.forgetting(p), [[8 - 5, 9 - 8]])
    np.testing.assert_array_equal(transfer.backward_transfer(p), [[5 - 8, 8 - 9]])
    np.testing.assert_array_equal(transfer.zero_shot(p), [[1, 2]])
    np.testing.assert_array_equal(transfer.first_areas(p), [[(3 + 7) / 2, (6 + 9) / 2]])
    np.testing.assert_array_equal(transfer.return_scores(p), [[6, 5]])
    np.testing.assert_array_equal(transfer.return_gains(p), [[7 - 3, 5.5 - 5]])


def test_measures_of_a_sequence_without_returns():
    """What was forgotten is told from the best, not from the end of a task's own training."""
    other = [[0, 2, 6, 6, 1, 3], [0, 0, 4, 5, 5, 7], [1, 1, 2, 2, 2, 2]]
    p = run(3, [[*row, 0, 0, 0, 0] for row in other])
    np.testing.assert_array_equal(transfer.forgetting(p), [[4 - 1, 7 - 2], [6 - 3, 5 - 7]])
    np.testing.assert_array_equal(transfer.backward_transfer(p), [[1 - 4, 2 - 7], [3 - 2, 7 - 5]])
    assert transfer.return_scores(p).shape == transfer.return_gains(p).shape == (2, 0)


def test_a_single_task_has_none_of_them():
    p = run(1)
    of_all = (transfer.forgetting, transfer.backward_transfer, transfer.zero_shot)
    assert {of(p).shape for of in (*of_all, transfer.return_gains)} == {(1, 0)}


def test_the_table_has_the_columns_that_some_method_has():
    none = {"seeds": [0], "forgotten": {"iqm": 0.25, "interval": [0.125, 0.5]}}
    report = {"methods": {"none": none, "redo": {"seeds": [0]}}}
    assert kept(json.loads(json.dumps(report))) == [
        ["method", "forgetting"], ["none", "0.25 (0.125 to 0.5)"], ["redo", "-"],
    ]  # fmt: skip
    assert kept({"methods": {"none": {"seeds": [0]}}}) == []
