"""What the host makes of a sequence of tasks: rows of every task, and their means."""

import types

import jax
import numpy as np
import pytest

from knife_jax.envs.base import EnvSpec
from knife_jax.envs.contract import ContractError
from knife_jax.host.evaluate import episode_keys, greedy_records, play
from knife_jax.host.progress import Progress
from knife_jax.host.summary import results
from knife_jax.records.series import over_tasks
from knife_jax.training.evaluator import Episodes


def program(task_steps, keys, unfinished=False):
    def evaluate(state, wanted, task):
        keys.append(jax.random.key_data(wanted).tolist())
        returns = np.float32([[1, 3], [2, 2]]) * (task + 1)
        ended = np.array([[True, True], [True, not unfinished]])
        return Episodes(returns, np.zeros((2, 2), bool), np.full((2, 2), 5), ended, ended | True)

    return types.SimpleNamespace(
        spec=EnvSpec("fake", 1, 1, 1, 1, 5, has_win=False),
        task_steps=task_steps,
        n_tasks=3,
        optimum=np.array([[7.0, 8.0, 10.0], [9.0, 8.0, 10.0]]),
        evaluate=evaluate,
        games=None,
    )


def rows_at(env_steps, task_steps=100, keys=None, kind="eval", times=1):
    keys = [] if keys is None else keys
    progress = Progress(env_steps=env_steps, updates=3, task=1)
    fake = program(task_steps, keys)
    played = play(fake, None, kind, [5, 6], env_steps, times=times)
    return greedy_records(fake, kind, [5, 6], played, progress.stamp())


def test_every_task_has_a_row_with_its_regret():
    rows = rows_at(200)
    told = [(row["task"], row["seed"], row["return"], row["regret"]) for row in rows]
    assert told == [
        (0, 5, 2, 5), (0, 6, 2, 7), (1, 5, 4, 4), (1, 6, 4, 4), (2, 5, 6, 4), (2, 6, 6, 4),
    ]  # fmt: skip
    assert {(row["kind"], row["env_steps"], row["updates"]) for row in rows} == {("eval", 200, 3)}


def test_a_sequence_is_always_judged_on_the_same_episodes():
    keys: list = []
    for task_steps in (100, None):
        rows_at(200, task_steps, keys)
        rows_at(300, task_steps, keys)
    assert len({str(key) for key in keys[:6]}) == 1
    assert len({str(key) for key in keys[6:]}) == 2


def test_an_episode_that_outlasts_the_horizon_is_no_score():
    fake = program(None, [], unfinished=True)
    with pytest.raises(ContractError, match=r"'fake' .*: 1 episodes that were not over after .*=5"):
        list(play(fake, None, "eval", [5, 6], 200))


def test_no_two_evaluations_share_episodes_nor_do_seeds_and_ten_parts_are_one_row():
    keys: list = []
    for kind, times in (("eval", 1), ("final", 1), ("absolute", 10)):
        rows = rows_at(200, None, keys, kind, times)
    of_seeds = [str(key) for of_call in keys for key in of_call]
    assert len(keys) == 12 * 3 and len(set(of_seeds)) == 12 * 2  # three tasks share their starts
    assert {(row["kind"], row["episodes"]) for row in rows} == {("absolute", 20)}
    assert len(rows) == 6


def test_a_seed_has_its_own_episodes_whatever_is_trained_beside_it():
    alone, beside = episode_keys("final", [3], 200), episode_keys("final", range(8), 200)
    assert (jax.random.key_data(alone[0]) == jax.random.key_data(beside[3])).all()


def test_the_display_and_the_summary_show_means_over_tasks():
    train = {"kind": "train", "seed": 5, "env_steps": 200, "return": 9.0}
    rows = [train, *rows_at(100), *rows_at(200, kind="final")]
    shown = over_tasks(rows)
    assert shown[0] == train and len(shown) == 1 + 2 * 2
    assert [row["return"] for row in shown[1:]] == [4.0] * 4
    assert results(rows, [5, 6])["final_return"] == [4.0, 4.0]
    assert results(rows, [5, 6])["absolute_return"] == [None, None]
    one = rows_at(100)[:2]
    assert over_tasks(one) == one
