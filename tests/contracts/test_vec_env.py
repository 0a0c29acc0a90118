"""What every environment must do once it is vectorised; one compiled play per environment."""

import functools
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.builders.envs import make_tasks
from knife_jax.config.environments import ENVS as TABLE
from knife_jax.envs import matrix_games
from knife_jax.envs.base import Env, EnvSpec, TimeStep, VecEnv, first_step, vectorise
from knife_jax.envs.predator_prey import predator_prey

sys.path.insert(0, str(Path(__file__).parents[1] / "ladder"))
from environments import ENDLESS, MEMORY

pytestmark = pytest.mark.xdist_group("vec_env")  # they share programs

SEEDS, ENVS, PERIOD = 2, 5, 3
QUICKLY = {"xla_backend_optimization_level": 0}  # these programs take longer to compile than to run


class Case(NamedTuple):
    make: object
    steps: int | None = None
    """by default two episodes of the longest and a few more"""
    starts_differ: bool = True
    batched: bool = False
    """``make`` gives a VecEnv, which plays many episodes at once by itself"""
    same_length: bool = True
    """all episodes last to the horizon"""


CASES = {
    "matrix_game/n_step": Case(
        lambda: matrix_games.matrix_game(*matrix_games.TABLES["n_step"]),
        2 * matrix_games.TABLES["n_step"][1] + 5,
        starts_differ=False,
        same_length=False,
    ),
    "matrix_game/gaussian_squeeze": Case(
        lambda: matrix_games.gaussian_squeeze(jnp.arange(3.0), ((8.0, 0.25),)), 7, False
    ),
    "mpe_predator_prey/3": Case(functools.partial(predator_prey, 3), 79),
    "memory": Case(lambda: MEMORY.env, 67),
    "endless": Case(lambda: ENDLESS.env, 67, starts_differ=False),
}


def from_table(entry, case):
    """The last of the tasks, made from its section as for training."""
    tasks = make_tasks(entry.config(n_envs=ENVS, **case.fields), (0,))
    return tasks.env(tasks.n - 1, ENVS)


CASES |= {
    f"{name}/table/{i}": Case(
        functools.partial(from_table, entry, case),
        starts_differ=case.starts_differ,
        batched=True,
        same_length=case.same_length,
    )
    for name, entry in TABLE.items()
    for i, case in enumerate(entry.cases)
}


class Played(NamedTuple):
    """``rows`` and ``states`` have axes [S, T + 1, E], ``actions`` [S, T, E, N]."""

    env: Env | VecEnv
    rows: TimeStep
    states: object
    actions: np.ndarray
    traces: int


class Noticed:
    """What was noticed while a program was traced."""

    def __init__(self):
        self.traces, self.types_at_reset, self.types_after_step = 0, None, None


def types(tree):
    return jax.tree.map(lambda leaf: (leaf.dtype, leaf.aval.weak_type), tree)


def self_keyed(env: Env, noticed: Noticed) -> Env:
    """The same game with its randomness drawn at reset, so that an episode can be played again."""

    def reset(key):
        key, reset_key = jax.random.split(key)
        state, row = env.reset(reset_key)
        return (state, key), row

    def step(_, state_and_key, action):
        noticed.traces += 1
        state, key = state_and_key
        key, step_key = jax.random.split(key)
        state, row = env.step(step_key, state, action)
        return (state, key), row

    return Env(env.spec, reset, step)


def n_steps(name, spec):
    return CASES[name].steps or 2 * spec.horizon + 5


def available_at_random(key, avail_actions):
    return jnp.argmax(
        jnp.where(avail_actions, jax.random.uniform(key, avail_actions.shape), -1.0), axis=-1
    )


@functools.cache
def player(name):
    noticed = Noticed()
    env = vec = CASES[name].make()
    if not CASES[name].batched:
        env = self_keyed(env, Noticed())
        vec = vectorise(self_keyed(vec, noticed), ENVS, reset_period=PERIOD)
    steps = n_steps(name, env.spec)
    game = lambda state: None if CASES[name].batched else state.env  # noqa: E731

    def body(carry, key):
        state, row = carry
        action = available_at_random(key, row.avail_actions)
        state, row = vec.step(state, action)
        noticed.types_after_step = types((state, row))
        return (state, row), (row, game(state), action)

    def play(key):
        key, reset_key = jax.random.split(key)
        state, row = vec.reset(reset_key)
        noticed.types_at_reset = types((state, row))
        _, (rows, states, actions) = jax.lax.scan(body, (state, row), jax.random.split(key, steps))
        join = functools.partial(jax.tree.map, lambda one, more: jnp.concatenate([one[None], more]))
        return join(row, rows), join(game(state), states), actions

    return env, jax.jit(jax.vmap(play), compiler_options=QUICKLY), noticed


@functools.cache
def played(name):
    env, play, noticed = player(name)
    rows, states, actions = play(jax.random.split(jax.random.key(7), SEEDS))
    return Played(env, jax.tree.map(np.asarray, rows), states, np.asarray(actions), noticed.traces)


def episodes(rows):
    """(seed, first row, last row, env) of every episode that was played to its end."""
    for s, e in np.ndindex(SEEDS, ENVS):
        starts, ends = (np.flatnonzero(flag[s, :, e]) for flag in (rows.first, rows.last))
        yield from ((s, start, end, e) for start, end in zip(starts, ends, strict=False))


every_environment = pytest.mark.parametrize("name", CASES)
every_single_environment = pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if not case.batched]
)


@every_environment
def test_shapes_and_dtypes_are_those_of_the_spec(name):
    env, rows, _, actions, _ = played(name)
    spec, lead = env.spec, (SEEDS, n_steps(name, env.spec) + 1, ENVS)
    expected = {
        "obs": ((spec.n_agents, spec.obs_size), np.float32),
        "state": ((spec.state_size,), np.float32),
        "avail_actions": ((spec.n_agents, spec.n_actions), bool),
        "reward": ((), np.float32),
        **dict.fromkeys(("terminated", "truncated", "first", "won"), ((), bool)),
    }
    assert set(vars(rows)) == set(expected)
    for field, (shape, dtype) in expected.items():
        value = getattr(rows, field)
        assert (value.shape, value.dtype) == ((*lead, *shape), dtype), field
    assert np.isfinite(rows.obs).all() and np.isfinite(rows.state).all()
    assert rows.avail_actions.any(axis=-1).all()
    assert actions.max() < spec.n_actions


@every_environment
def test_an_end_has_its_own_row_and_the_next_row_is_a_start(name):
    env, rows, *_ = played(name)
    assert not (rows.terminated & rows.truncated).any()
    assert rows.first[:, 0].all() and rows.last.any()
    np.testing.assert_array_equal(rows.first[:, 1:], rows.last[:, :-1])
    assert not (rows.first & rows.last).any()
    assert not rows.reward[rows.first].any()
    assert not (rows.won & ~rows.terminated).any()
    assert env.spec.has_win or not rows.won.any()


@every_environment
def test_no_episode_is_longer_than_the_horizon(name):
    env, rows, *_ = played(name)
    lengths = [end - start for _, start, end, _ in episodes(rows)]
    assert len(lengths) >= SEEDS * ENVS
    if not CASES[name].same_length:
        assert max(lengths) <= env.spec.horizon
    else:
        assert set(lengths) == {env.spec.horizon}


@every_single_environment
def test_episodes_are_those_of_the_environment_alone(name, key):
    """From its first row on: the same rows to the true last one, whatever the action before it."""
    env, rows, states, actions, _ = played(name)
    steps = min(env.spec.horizon, n_steps(name, env.spec))

    @functools.partial(jax.jit, compiler_options=QUICKLY)
    def alone(state, actions):
        step = lambda state, action: env.step(key, state, action)  # noqa: E731
        return jax.lax.scan(step, state, actions)[1]

    # the second episode of two environments: these came from spares
    chosen = [
        [episode for episode in episodes(rows) if episode[0] == s and episode[3] == e][1]
        for s, e in ((0, 0), (1, ENVS - 1))
    ]
    for s, start, end, e in chosen:
        moves = np.zeros((steps, *actions.shape[3:]), np.int32)
        moves[: end - start] = actions[s, start:end, e]
        again = alone(jax.tree.map(lambda leaf: leaf[s, start, e], states), moves)  # noqa: B023
        for field in ("obs", "state", "avail_actions", "reward", "terminated", "truncated", "won"):
            seen = getattr(rows, field)[s, start + 1 : end + 1, e]
            expected = np.asarray(getattr(again, field))[: end - start]
            np.testing.assert_allclose(seen, expected, atol=1e-4, err_msg=field)


@every_environment
def test_a_key_decides_everything_and_nothing_is_traced_again(name):
    _, rows, _, actions, traces = played(name)
    _, play, noticed = player(name)
    again = play(jax.random.split(jax.random.key(7), SEEDS))
    jax.tree.map(np.testing.assert_array_equal, again[0], rows)
    other = play(jax.random.split(jax.random.key(11), SEEDS))
    assert (np.asarray(other[2]) != actions).any()
    assert noticed.traces == traces
    assert play._cache_size() == 1
    assert noticed.types_at_reset == noticed.types_after_step


@every_environment
def test_starts_differ_between_seeds_environments_and_episodes(name):
    _, rows, *_ = played(name)
    if not CASES[name].starts_differ:
        return
    starts = [rows.obs[s, t, e].tobytes() for s, t, e in np.argwhere(rows.first)]
    if name == "memory":
        assert len(set(starts)) == 9
        chains = {rows.obs[s, :, e].tobytes() for s, e in np.ndindex(SEEDS, ENVS)}
        assert len(chains) == SEEDS * ENVS
    else:
        assert len(set(starts)) == len(starts) > 2 * SEEDS * ENVS


def lottery(length):
    """An environment whose start is a random number and whose episodes have ``length`` steps."""
    avail_actions = jnp.ones((2, 3), bool)

    def reset(key):
        ticket = jax.random.uniform(key)
        return (ticket, jnp.zeros((), jnp.int32)), first_step(
            jnp.full((2, 1), ticket), jnp.zeros(1), avail_actions
        )

    def step(_, state, action):
        ticket, time = state
        _, row = reset(jax.random.key(0))
        row = row.replace(
            obs=jnp.full((2, 1), ticket), first=jnp.zeros((), bool), terminated=time + 1 >= length
        )
        return (ticket, time + 1), row

    return Env(EnvSpec("lottery", 2, 3, 1, 1, length, False), reset, step)


@pytest.mark.parametrize(
    ("n_envs", "period", "redrawn"),
    [(1, 8, 1), (5, 3, 2), (7, 3, 3)],
)
def test_spares_are_redrawn_in_turn(key, n_envs, period, redrawn):
    vec = vectorise(lottery(17), n_envs, reset_period=period)
    step = jax.jit(vec.step)
    state, _ = vec.reset(key)
    action = jnp.zeros((n_envs, 2), jnp.int32)
    spares = [np.asarray(state.spare_env[0])]
    for _ in range(2 * period):
        state, _ = step(state, action)
        spares.append(np.asarray(state.spare_env[0]))
    changed = np.diff(np.array(spares), axis=0) != 0
    assert (changed.sum(axis=1) == redrawn).all()
    for t in range(period + 1):
        assert changed[t : t + period].any(axis=0).all()


@pytest.mark.parametrize("length", [1, 7])
def test_an_environment_gets_another_spare_each_time(key, length):
    vec = vectorise(lottery(length), 11)
    step = jax.jit(vec.step)
    state, row = vec.reset(key)
    tickets = [np.asarray(row.obs[:, 0, 0])]
    for _ in range(6 * (length + 1)):
        state, row = step(state, jnp.zeros((11, 2), jnp.int32))
        assert row.first.all() or not row.first.any()
        if row.first.all():
            tickets.append(np.asarray(row.obs[:, 0, 0]))
    assert len(tickets) == 7 and len(np.unique(tickets)) == 7 * 11


@pytest.mark.parametrize(("n_envs", "period"), [(0, 8), (5, 0)])
def test_impossible_sizes_are_refused(n_envs, period):
    with pytest.raises(ValueError, match="need n_envs >= 1"):
        vectorise(lottery(3), n_envs, reset_period=period)
