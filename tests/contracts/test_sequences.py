"""Sequences of tasks: one program, clean switches, and a clock that everything else reads."""

from dataclasses import replace
from functools import cache
from itertools import combinations, pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import KNIFE, seed_of, tiny_config

from knife_jax.builders.envs import make_tasks
from knife_jax.builders.program import build_tasks
from knife_jax.cli import compose
from knife_jax.clock import Clock, at_task_switch, crossed
from knife_jax.config.environments import GridSequenceConfig, MatrixSequenceConfig
from knife_jax.config.grid_games import SCENARIOS
from knife_jax.config.schema import ConfigError
from knife_jax.envs import sequences
from knife_jax.envs.tasks import Tasks, shuffled
from knife_jax.training.replay import unpack
from knife_jax.training.task_switch import TaskSequence, clock_at_last_update, per_task

pytestmark = pytest.mark.usefixtures("networks_at_once")

ROUND = 7 * 5  # environments x window of the tiny configuration


def counted(tasks: Tasks):
    """The same tasks, with a count of how often an environment's step was traced."""
    traces = []

    def make(row, n_envs):
        env = tasks.make(row, n_envs)

        def step(state, action):
            traces.append(n_envs)
            return env.step(state, action)

        return env._replace(step=step)

    return tasks._replace(make=make), traces


def train(program, seeds):
    state, clock = program.init(seeds), program.clock()
    clocks, seen = [], []
    while int(clock.rounds) < program.budget.rounds:
        state, clock, metrics = program.chunk(state, clock)
        clocks.append(jax.tree.map(int, clock))
        seen.append(jax.tree.map(np.asarray, metrics))
    return state, clocks, seen


def surgeries(seen):
    """(rounds, task) of every surgery of the first seed."""
    events = [{k: v[0] for k, v in m["surgery"].items()} for m in seen]
    return [
        (int(e["rounds"][i]), int(e["task"][i])) for e in events for i in np.flatnonzero(e["fired"])
    ]


RUNNING = KNIFE | {"interval": 0, "measure": "running"}
WINDOW = 4
LATE = KNIFE | {"interval": 0, "measure": "post_switch", "window": WINDOW}


def compiled(env, **sizes):
    """The program of a sequence, trained, and its traces before and after it ran."""
    config = tiny_config(mixer="vdn", log_every=ROUND, **sizes)
    tasks, traces = counted(make_tasks(env, (0,)))
    program = build_tasks(tasks, replace(config, env=env))
    seeds = tuple(range(config.num_seeds))
    program.chunk.lower(program.init(seeds), program.clock())
    before = len(traces)
    return program, *train(program, seeds), (before, len(traces))


MATRIX = MatrixSequenceConfig(
    n_tasks=50, steps_per_task=4 * ROUND - 3, n_envs=7,
    clear_replay=True, restart_epsilon=True, restart_optimiser=True,
)  # fmt: skip


@cache
def fifty():
    """Fifty matrix games of four rounds, nearly, where a switch does all it can do by itself."""
    sizes = {"learning_starts": 2 * ROUND, "epsilon_steps": 2 * ROUND, "seeds": 2, "lr_decay": True}
    return compiled(MATRIX, env_steps=50 * MATRIX.steps_per_task, plasticity=LATE, **sizes)


@cache
def eight():
    """Eight grid games of two rounds, and the first of them again; everything else goes on."""
    env = GridSequenceConfig(
        scenario="small", vary="all", n_tasks=8, steps_per_task=2 * ROUND, n_envs=7,
        restart_epsilon=False,
    )  # fmt: skip
    return compiled(env, env_steps=9 * 2 * ROUND, learning_starts=ROUND, plasticity=RUNNING)


def test_fifty_matrix_games_are_one_program():
    program, _, clocks, _, (before, after) = fifty()
    assert program.chunk._cache_size() == 1
    assert before == after > 0, "the environment was traced again after the first chunk"
    begins = [-(-task * MATRIX.steps_per_task // ROUND) for task in range(51)]
    of_each = [after - before for before, after in pairwise(begins)]
    assert {*of_each} == {3, 4} and program.budget.rounds == begins[-1]
    assert [clock.task for clock in clocks] == [
        task for task in range(50) for _ in range(of_each[task])
    ]
    assert clocks[-1].rounds == program.budget.rounds


def test_the_learning_rate_falls_through_restarts_of_the_optimiser():
    program, _, clocks, seen, _ = fifty()
    made = [0, *(clock.updates for clock in clocks)]
    n = program.budget.updates_from()
    assert {clock.planned for clock in clocks} == {n} == {made[-1]}
    rates = [float(m["train"]["learning_rate"][0]) for m in seen]
    expected = [
        3e-3 * (n - after) / (n - 1) if after > before else np.nan
        for before, after in pairwise(made)
    ]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert rates[-1] == 0


@pytest.mark.parametrize(
    ("run", "updates", "n"), [(fifty, WINDOW, 50), (eight, 1, 9)], ids=["late", "at once"]
)
def test_surgery_comes_once_per_switch_with_the_gradient_step_that_is_due(run, updates, n):
    """One window into the task, or at its first gradient step. Where the replay was emptied,
    learning waits for a round; then there are three steps a round."""
    program, _, clocks, seen, _ = run()
    waits = int(run is fifty) + -(-updates // 3)
    due = [(program.budget.begins(task) + waits, task) for task in range(1, n)]
    assert surgeries(seen) == due
    made = {clock.task: clock.updates for clock in clocks}  # by the end of the task
    first = [{k: v[0] for k, v in m["surgery"].items()} for m in seen]
    steps = [int(step) for m in first for step in m["updates"][m["fired"]]]
    assert steps == [made[task - 1] + updates for task in range(1, n)]
    assert all(np.all(m["surgery"]["churn_max"] == 0) for m in seen)


def test_every_task_is_judged_by_one_program_and_its_own_rules(key):
    program, state, *_ = fifty()
    played = [program.evaluate(state, jax.random.split(key), task) for task in range(50)]
    returns = np.array([episodes.returns for episodes in played])  # [K, S, M]
    assert returns.shape == (50, 2, 19)
    assert (returns.min(2) == returns.max(2)).all(), "one joint action, the same in all episodes"
    assert (returns <= program.optimum.T[:, :, None] + 1e-5).all()
    assert len(np.unique(returns[:, 0, 0])) > 25, "the tasks pay differently"


def test_the_eight_grid_games_are_one_program():
    program, _, clocks, _, (before, after) = eight()
    assert program.chunk._cache_size() == 1 and before == after > 0
    assert [clock.task for clock in clocks] == [task for task in range(9) for _ in range(2)]


def test_a_switch_cuts_episodes_and_mixes_no_transition():
    """Episodes have 40 steps, switches come after 10 steps of each environment."""
    _, state, *_ = eight()
    ring = unpack(seed_of(state.replay, 0))
    ring = jax.tree.map(np.asarray, ring)
    rounds = lambda leaf: leaf[: 18 * 7].reshape(18, 7, -1)  # noqa: E731
    first = rounds(ring.first.T)
    assert first[::2, :, 0].all(), "the first window of a task begins an episode"
    valid = rounds(ring.valid.T)
    np.testing.assert_array_equal(first[:, :, 1:], ~valid)  # else only an end is followed by one
    np.testing.assert_array_equal(first[1::2, :, 0], ~valid[::2, :, -1])
    carry, last_action = rounds(ring.carry), rounds(ring.last_action)
    assert not carry[::2].any() and carry[1::2].any(), "memory is left behind"
    assert (last_action[::2] == -1).all() and (last_action[1::2] >= 0).all()


def test_what_a_switch_does_by_itself():
    _, state, clocks, seen, _ = fifty()
    assert [clock.replay_since for clock in clocks[:6]] == [0] * 4 + [4] * 2
    # a round without learning, then three gradient steps a round
    assert [clock.updates for clock in clocks[:7]] == [0, 3, 6, 9, 9, 12, 15]
    assert optimiser_steps(state) == [9] * 2, "the optimiser began anew with the last task"
    epsilon = [float(m["train"]["epsilon"][0]) for m in seen[:6]]
    np.testing.assert_allclose(epsilon, [0.55, 0.1, 0.1, 0.1, 0.55, 0.1], rtol=1e-5)


def test_what_goes_on_through_a_switch():
    _, state, clocks, seen, _ = eight()
    assert {clock.replay_since for clock in clocks} == {0}
    assert optimiser_steps(state) == [clocks[-1].updates] == [3 * 18]
    epsilon = [float(m["train"]["epsilon"][0]) for m in seen]
    expected = 1 - 0.9 * np.minimum(np.arange(1, 19) * ROUND / 1000, 1)
    np.testing.assert_allclose(epsilon, expected, rtol=1e-5)


def optimiser_steps(state):
    """Adam's count of steps, seed by seed."""
    leaves = jax.tree.leaves(state.patient.opt_state)
    (count,) = [leaf for leaf in leaves if leaf.dtype == jnp.int32]
    return count.tolist()


@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("waits", [0, 1, 2, 3])
def test_gates_are_asked_about_a_switch_exactly_once(clear, waits):
    """Over all rounds of five tasks, where the run is resumed without its replay or not."""
    trigger = lambda clock: clock.rounds // 4  # noqa: E731
    sequence = TaskSequence(lambda task: None, trigger, clear, lambda patient: patient)

    @jax.jit
    @jax.vmap
    def due(rounds, since):
        clock = clock_at(rounds, rounds // 4, rounds // 4 * 4)._replace(replay_since=since)
        after = clock._replace(rounds=clock.rounds + 1)
        return crossed(at_task_switch, clock_at_last_update(sequence, clock, waits), after)

    rounds = np.arange(20)
    for resumed in (None, *range(20)):
        emptied = ((rounds % 4 == 0) & clear) | (rounds == resumed)
        since = np.maximum.accumulate(np.where(emptied, rounds, 0))
        fired = rounds[(rounds + 1 - since >= waits) & due(rounds, since)] // 4
        assert [*fired] == [1, 2, 3, 4] or (resumed and waits > 1 and len(fired) == 3), resumed


def test_a_schedule_restarts_with_each_task():
    schedule = per_task(lambda clock: clock.rounds)
    clocks = [clock_at(rounds, rounds // 100, rounds // 100 * 100) for rounds in (0, 99, 100, 250)]
    assert [int(schedule(clock)) for clock in clocks] == [0, 99, 0, 50]


def clock_at(rounds, task, task_rounds):
    """In a task that began after so many rounds."""
    now = {"rounds": rounds, "task": task, "task_rounds": task_rounds}
    return Clock.zero()._replace(**{name: jnp.int32(n) for name, n in now.items()})


def test_tasks_are_drawn_from_their_seed():
    tasks = sequences.permuted_matrices("qtran", 40, 0)
    payoffs = tasks.params.payoff[:, 0]
    assert (
        payoffs.shape == (40, 3, 3)
        and (np.sort(payoffs.reshape(40, -1)) == [-12] * 4 + [0] * 4 + [8]).all()
    )
    places = {tuple(np.argwhere(payoff == 8)[0]) for payoff in payoffs}
    assert len(places) == 9 and tasks.optimum.tolist() == [8.0] * 40
    again = sequences.permuted_matrices("qtran", 40, 0)
    np.testing.assert_array_equal(tasks.params.payoff, again.params.payoff)
    other = shuffled(tasks, 5)
    order = np.random.default_rng(5).permutation(40)
    np.testing.assert_array_equal(other.params.payoff, tasks.params.payoff[order])
    np.testing.assert_array_equal(other.env(0, 1).spec.horizon, 1)


def test_representable_matrices_are_monotone_in_both_agents():
    tasks = sequences.representable_matrices(5, 20, 0)
    for payoff in tasks.params.payoff[:, 0]:
        assert (payoff.min(), payoff.max()) == (0, 10)
        rows, columns = np.argsort(payoff[:, 0]), np.argsort(payoff[0])
        assert (np.diff(payoff[rows][:, columns], axis=0) >= 0).all()
        assert (np.diff(payoff[rows][:, columns], axis=1) >= 0).all()
        best = np.unravel_index(payoff.argmax(), payoff.shape)
        assert best == (rows[-1], columns[-1])


def test_games_share_as_much_as_they_are_to_with_one_game():
    """At most ``shared`` of an agent's actions keep the differences that a common game has."""

    def values(shared):
        games = sequences.representable_matrices(5, 60, 3, shared).params.payoff[:, 0]
        return np.cbrt(games.astype(float))

    independent, common = values(0.0), values(1.0)
    assert (common == common[0]).all() and len(np.unique(independent[:, 0, 0])) > 40
    rng = np.random.default_rng(3)
    own, base = rng.uniform(size=(60, 2, 5)), rng.uniform(size=(2, 5))
    for shared, kept in ((0.2, 1), (0.5, 2), (0.6, 3)):
        games = sequences.representable_matrices(5, 60, 3, shared).params.payoff[:, 0]
        places = [[0] * 5, [0] * 5]
        for game, mine in zip(games, own, strict=True):
            # the agent's values, up to a scale and a shift, by brute force over which are kept
            fits = []
            for first in combinations(range(5), kept):
                for second in combinations(range(5), kept):
                    r = mine.copy()
                    for agent, which in enumerate((first, second)):
                        r[agent, list(which)] = base[agent, list(which)]
                    payoff = np.add.outer(*r) ** 3
                    payoff = 10 * (payoff - payoff.min()) / (payoff.max() - payoff.min())
                    if np.allclose(payoff, game, atol=1e-4):
                        fits.append((first, second))
            assert len(fits) == 1
            for agent, which in enumerate(fits[0]):
                for action in which:
                    places[agent][action] += 1
        expected = 60 * kept / 5
        assert np.abs(np.array(places) - expected).max() < 4 * np.sqrt(expected)


def test_what_permuted_games_share_is_refused():
    said = "env.shared=0.5 is refused: must be 0 for env.payoffs=permuted"
    with pytest.raises(ConfigError, match=said):
        compose(["env=seq_matrix", "env.payoffs=permuted", "env.shared=0.5"])


@pytest.mark.parametrize(
    ("vary", "changed"),
    [
        ("speed", {"prey_force"}),
        ("obstacles", {"n_obstacles"}),
        ("rewards", {"catch", "distance"}),
        ("all", {"prey_force", "n_obstacles", "catch", "distance"}),
    ],
)
def test_pursuits_differ_in_what_is_varied(vary, changed):
    params = sequences.pursuits(3, vary, 31, 0).params._asdict()
    assert {name for name, leaf in params.items() if len(np.unique(leaf)) > 1} == changed


@pytest.mark.parametrize("vary", ["rewards", "punishment", "counts", "view", "rest", "all"])
def test_grid_games_differ_in_what_is_varied_and_fit_their_arrays(vary):
    tasks = sequences.grid_games("small", vary, 31, 0)
    base = SCENARIOS["small"]
    changed = {name for name, leaf in tasks.params._asdict().items() if len(np.unique(leaf)) > 1}
    parts = {
        "rewards": {"stag", "hare"}, "punishment": {"miss"}, "view": {"view"}, "rest": {"rest"},
        "counts": {"n_agents", "n_stags", "n_hares"},
    }  # fmt: skip
    assert changed == (set.union(*parts.values()) if vary == "all" else parts[vary])
    for name in ("n_agents", "n_stags", "n_hares", "view", "size", "time_limit"):
        assert (getattr(tasks.params, name) <= getattr(base, name)).all()
    assert (tasks.params.n_stags + tasks.params.n_hares >= 1).all()
    assert (tasks.params.n_agents >= 2).all() and (tasks.params.view >= 1).all()


def test_the_table_of_joint_actions_is_what_the_learner_acts_on(key):
    """Monotone mixing: the greedy joint action of the evaluation is the best of the table."""
    program, state, *_ = fifty()
    tables = np.asarray(program.joint_values(state, key))
    assert tables.shape == (2, 5, 5)
    payoffs = np.asarray(make_tasks(MATRIX, (0,)).params.payoff)[7, 0]
    returns = np.asarray(program.evaluate(state, jax.random.split(key), 7).returns)[:, 0]
    for table, paid in zip(tables, returns, strict=True):
        assert payoffs[np.unravel_index(table.argmax(), table.shape)] == pytest.approx(paid)
