"""Counts of rounds on the device are those of environment steps in whole numbers of any size."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.builders.optimiser import falling
from knife_jax.clock import Clock, every_env_steps, once
from knife_jax.training.budget import Budget
from knife_jax.training.exploration import linear

LAST = 2**31 - 1


def at(**counts):
    return Clock.zero()._replace(**{name: jnp.asarray(n, jnp.int32) for name, n in counts.items()})


def test_intervals_are_exact_for_every_count():
    """Round by round where it matters: at the ends, and on both sides of a moment."""
    chance = random.Random(0)
    slow = 0
    for _ in range(150):
        steps = chance.choice([1, 256, 2048, chance.randrange(1, 10**5), chance.randrange(1, LAST)])
        interval = chance.choice([chance.randrange(1, 2**b) for b in (20, 31, 53)])
        apart = max(interval, steps)
        some = [chance.randrange(2**b) for b in (8, 16, 24, 31)]
        on = min(LAST, -(-chance.randrange(1, 1000) * apart // steps))
        rounds = [0, LAST - 1, LAST, on, on - 1, *some]
        trigger = every_env_steps(interval, steps)
        count = jax.vmap(lambda r: trigger(at(rounds=r)))(jnp.asarray(rounds, jnp.int32))  # noqa: B023
        assert count.tolist() == [r * steps // apart for r in rounds], (steps, interval)
        slow += (apart / np.gcd(apart, steps)) * (steps / np.gcd(apart, steps)) > 2**32
    assert slow > 20, "some are beyond one product of 32 bits"


def test_once_comes_with_the_round_that_reaches_it():
    trigger = once(5_000_000_001, 32)
    due = 156_250_001
    assert [int(trigger(at(rounds=r))) for r in (0, due - 1, due, LAST)] == [0, 0, 1, 1]
    assert int(once(2**53, 32)(at(rounds=LAST - 1))) == 0


def test_exploration_beyond_32_bits():
    epsilon = linear(1.0, 0.2, 4_000_000_000, 32)
    moments = (0, 93_750_000, 125_000_000, LAST)  # 0, 3e9, 4e9 and more steps
    values = [float(epsilon(at(rounds=r))) for r in moments]
    np.testing.assert_allclose(values, [1.0, 0.4, 0.2, 0.2], rtol=1e-6)


@pytest.mark.parametrize("n", [2, 50, 11_728, LAST])
def test_the_learning_rate_is_0_at_the_last_gradient_step_and_not_before(n):
    rate = falling(3e-3)
    first, middle, before, last, after = (
        float(rate(at(updates=u, planned=n))) for u in (0, n // 2, n - 2, n - 1, n)
    )
    assert first == pytest.approx(3e-3) and last == after == 0
    assert middle == pytest.approx(3e-3 * (n - 1 - n // 2) / (n - 1), rel=1e-5, abs=1e-9)
    assert 0 < before <= 3e-3 / (n - 1) * 1.001


def test_a_single_gradient_step_has_the_whole_learning_rate():
    assert float(falling(0.5)(at(planned=1))) == 0.5


def played(budget, until, since=0, task=0, begin=0):
    """Round by round: the gradient steps, and where the replay and the tasks then stand."""
    updates = 0
    for rounds in range(begin, until):
        due = rounds * budget.round_steps // max(budget.task_steps or 10**9, budget.round_steps)
        if due > task and budget.clear_replay:
            since = rounds
        task = due
        updates += budget.updates * (rounds + 1 - since >= budget.waits)
    return updates, since, task


def test_planned_gradient_steps_are_those_of_round_by_round():
    chance = random.Random(1)
    for _ in range(2000):
        budget = Budget(
            round_steps=chance.randrange(1, 30),
            rounds=chance.randrange(80),
            waits=chance.randrange(8),
            updates=chance.randrange(1, 4),
            task_steps=chance.choice([None, chance.randrange(1, 300)]),
            clear_replay=chance.random() < 0.7,
        )
        begin = chance.randrange(budget.rounds + 1)
        _, since, task = played(budget, begin)
        since = chance.choice([since, begin])  # begin: the replay was lost
        assert budget.updates_from() == played(budget, budget.rounds)[0]
        ahead = played(budget, budget.rounds, since, task, begin)[0]
        assert budget.updates_from(begin, since) == ahead, (budget, begin, since)


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        (Budget(2048, 1, 5, 1), 2048 * (LAST - 1)),
        (Budget(2048, 1, 5, 16), 2048 * (4 + (LAST - 1) // 16)),
        (Budget(32, 1, 5, 1, 1, True), 32 * (LAST - 1)),
    ],
)
def test_the_largest_budget_is_one_that_can_be_counted(budget, steps):
    assert budget.largest() == steps
    assert budget._replace(rounds=steps // budget.round_steps).updates_from() < LAST
