"""SMAX as an ``Env``, row by row beside JaxMARL itself."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.config.scenarios import SMAX_SCENARIOS
from knife_jax.envs.base import VecEnv
from knife_jax.envs.smax.jaxmarl import bounded_state, smax

pytestmark = pytest.mark.xdist_group("smax")  # they share programs

BATTLES = 17
QUICKLY = {"xla_backend_optimization_level": 0}  # these programs take longer to compile than to run
STOP, EAST = 4, 1


def attack_or_advance(avail_actions):
    """Everyone shoots the first enemy in reach, walks east if there is none, stops when dead."""
    shoot = jnp.argmax(avail_actions[..., 5:], axis=-1) + 5
    move = jnp.where(avail_actions[..., EAST], EAST, STOP)
    return jnp.where(jnp.any(avail_actions[..., 5:], axis=-1), shoot, move)


@functools.cache
def games():
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

    env, theirs = smax("3m"), HeuristicEnemySMAX(scenario=map_name_to_scenario("3m"))

    @functools.partial(jax.jit, compiler_options=QUICKLY)
    @jax.vmap
    def step(key, state, action):
        state_after, row = env.step(key, state, action)
        actions = {agent: action[i] for i, agent in enumerate(theirs.agents)}
        obs, their_state, reward, done, _ = theirs.step_env(key, state, actions)
        avail_actions = theirs.get_avail_actions(their_state)
        return state_after, row, (obs, their_state, reward, done, avail_actions)

    return env, theirs, jax.jit(jax.vmap(env.reset), compiler_options=QUICKLY), step


@functools.cache
def battles():
    """Rows [T, E], JaxMARL's own [T, E], and which of them are still within the first episode."""
    env, _, reset, step = games()
    state, row = reset(jax.random.split(jax.random.key(3), BATTLES))
    ours, theirs, playing = [], [], [np.ones(BATTLES, bool)]
    for t in range(env.spec.horizon):
        keys = jax.random.split(jax.random.key(t), BATTLES)
        state, row, peer = step(keys, state, attack_or_advance(row.avail_actions))
        compiled = step._cache_size() if t == 0 else compiled
        ours.append(row)
        theirs.append(peer)
        playing.append(playing[-1] & ~np.asarray(row.last))
        if not playing[-1].any():
            break
    assert step._cache_size() == compiled, "a step's state has other types than that of a reset"
    stack = functools.partial(jax.tree.map, lambda *rows: np.stack(rows))
    return stack(*ours), stack(*theirs), np.array(playing[:-1])


def test_rows_are_jaxmarls():
    rows, (obs, _, reward, done, avail_actions), playing = battles()
    agents = [f"ally_{i}" for i in range(3)]
    for ours, theirs in [
        (rows.obs, np.stack([obs[a] for a in agents], axis=2)),
        (rows.state, obs["world_state"]),
        (rows.avail_actions, np.stack([avail_actions[a] for a in agents], axis=2).astype(bool)),
        (rows.reward, reward["ally_2"]),
        (rows.last, done["__all__"]),
    ]:
        np.testing.assert_array_equal(ours[playing], theirs[playing])


def test_wins_are_wins_by_jaxmarls_own_convention():
    rows, (_, state, _, done, _), playing = battles()
    alive = state.state.unit_alive
    ended = playing & done["__all__"]
    assert ended.sum() == BATTLES
    won = rows.won[ended]
    assert 0 < won.sum() < BATTLES
    np.testing.assert_array_equal(won, rows.reward[ended] >= 1.0)
    np.testing.assert_array_equal(
        won, ~alive[..., 3:].any(-1)[ended] & alive[..., :3].any(-1)[ended]
    )
    assert rows.terminated[ended].all()
    assert not rows.won[playing & ~ended].any()


def test_a_win_returns_two_and_a_loss_less_than_one():
    rows, _, playing = battles()
    total = (rows.reward * playing).sum(axis=0)
    won = (rows.won & playing).any(axis=0)
    np.testing.assert_allclose(total[won], 2.0, rtol=1e-5)
    assert (total[~won] < 1.0).all()


def test_the_dead_may_only_stop_and_see_nothing():
    rows, (_, state, *_), playing = battles()
    dead = ~state.state.unit_alive[..., :3] & playing[..., None]
    assert dead.any()
    only_stop = np.arange(8) == STOP
    np.testing.assert_array_equal(
        rows.avail_actions[dead], np.broadcast_to(only_stop, (dead.sum(), 8))
    )
    assert not rows.obs[dead].any()
    living = ~dead & playing[..., None]
    assert rows.avail_actions[living][:, :5].all()


def duel(time):
    """Three pairs in reach of each other, a single hit from death, at step ``time``."""
    _, _, reset, _ = games()
    state, _ = reset(jax.random.split(jax.random.key(1), BATTLES))
    y = 8.0 + 8.0 * np.arange(3)
    at = np.concatenate([np.stack([np.full(3, x), y], 1) for x in (10.0, 12.0)])
    inner = state.state.replace(
        unit_positions=jnp.broadcast_to(jnp.asarray(at, jnp.float32), (BATTLES, 6, 2)),
        unit_health=jnp.ones((BATTLES, 6)),
        step=jnp.full(BATTLES, time, jnp.int32),
    )
    return state.replace(state=inner)


def play(time, action):
    _, _, _, step = games()
    keys = jax.random.split(jax.random.key(5), BATTLES)
    _, row, _ = step(keys, duel(time), jnp.tile(jnp.array(action, jnp.int32), (BATTLES, 1)))
    return row


def test_when_both_sides_die_at_once_nobody_wins():
    row = play(0, [5, 6, 7])
    assert row.terminated.all() and not row.won.any() and not row.truncated.any()
    np.testing.assert_allclose(row.reward, 1 / 45, rtol=1e-5)


def test_the_time_limit_cuts_the_transition_from_step_100_but_not_a_decision():
    env, *_ = games()
    assert env.spec.horizon == 101
    _, _, reset, step = games()
    keys = jax.random.split(jax.random.key(5), BATTLES)
    state, _ = reset(keys)
    stop = jnp.full((BATTLES, 3), STOP, jnp.int32)
    for time, cut in [(99, False), (100, True)]:
        late = state.replace(state=state.state.replace(step=jnp.full(BATTLES, time, jnp.int32)))
        _, row, _ = step(keys, late, stop)
        assert (row.truncated == cut).all() and not row.terminated.any()
    decided = play(100, [5, 6, 7])
    assert decided.terminated.all() and not decided.truncated.any()


def test_every_scenario_of_jaxmarl_is_offered_with_its_sizes():
    from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO

    assert tuple(MAP_NAME_TO_SCENARIO) == SMAX_SCENARIOS
    for name, scenario in MAP_NAME_TO_SCENARIO.items():
        n, m = scenario.num_allies, scenario.num_enemies
        spec = smax(name).spec
        assert spec == (f"smax/{name}", n, 5 + m, 13 * (n + m - 1) + 10, 12 * (n + m), 101, True)


def test_a_misspelt_scenario_is_refused_in_one_line_with_the_list():
    with pytest.raises(ValueError, match=r"2s3x.*did you mean 2s3z.*smacv2_20_units") as refusal:
        smax("2s3x")
    assert "\n" not in str(refusal.value)


def test_names_come_without_jax_and_smax_in_silence_without_jaxmarls_other_environments():
    code = """
import sys, knife_jax.config.scenarios
assert not {"jax", "flax"} & {*sys.modules}
from knife_jax.envs.smax.jaxmarl import smax
from knife_jax.envs.lean_import import jaxmarl_module
smax("3m")
ours = jaxmarl_module("smax")
assert not {"jaxmarl", "jaxmarl.environments", "jaxmarl.environments.storm"} & {*sys.modules}
print("quiet so far")
import jaxmarl
assert type(jaxmarl.make("HeuristicEnemySMAX")) is ours.HeuristicEnemySMAX
assert "jaxmarl.environments.storm" in sys.modules and jaxmarl_module("smax") is ours
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("quiet so far")


RELOAD = np.array([0.61, 1.07, 1.87, 0.86, 0.5, 0.59])
"""seconds between two shots of a marine, marauder, stalker, zealot, zergling, hydralisk"""


def test_the_bounded_state_by_hand_and_within_its_bounds():
    """Two units of JaxMARL's world state by hand, then everything that was seen in battles."""
    _, _, played = battles()
    rows = jax.tree.map(lambda leaf: leaf[played], battles()[0])
    units = [[0.5, 8.0, 32.0, -20.0, 1, 0, 0, 0, 0, 0], [1.0, 4.0, 0.0, 0.3, 0, 0, 0, 1, 0, 0]]
    by_hand = np.array([*units[0], *units[1], 0, 1, 0, 3], np.float32)
    # the second is a zealot, which reloads in 0.86 s
    bounded = [[0.5, 0.25, 1.0, 0, 1, 0, 0, 0, 0, 0], [1.0, 0.125, 0, 0.3 / 0.86, 0, 0, 0, 1, 0, 0]]
    expected = np.array([*bounded[0], *bounded[1], 0, 1, 0, 0.5], np.float32)

    def seen(state, n_units):
        row = jax.tree.map(lambda leaf: leaf[:1], rows).replace(state=jnp.asarray(state))
        spec = smax("3m").spec._replace(state_size=12 * n_units)
        env = bounded_state(VecEnv(spec, 1, lambda key: (0, row), lambda state, action: (0, row)))
        first, after = env.reset(jax.random.key(0))[1], env.step(0, jnp.zeros((1, 3), int))[1]
        np.testing.assert_array_equal(first.state, after.state)
        return np.asarray(after.state)

    np.testing.assert_allclose(seen(by_hand[None], 2)[0], expected, rtol=1e-6)

    # a living unit of each type, and a dead one, at several points of its reload
    for share, shown in ((-3.0, 0.0), (0.1, 0.1), (0.5, 0.5), (0.8, 0.8), (0.95, 0.95), (1.05, 1)):
        units = np.zeros((7, 10), np.float32)
        units[:6, 0], units[:6, 3] = 1.0, share * RELOAD
        units[:6, 4:] = np.eye(6)
        state = seen(np.r_[units.ravel(), np.zeros(14)][None].astype(np.float32), 7)[0]
        cooldown = state[:70].reshape(7, 10)[:, 3]
        np.testing.assert_allclose(cooldown, [shown] * 6 + [0], rtol=1e-6)
    state = seen(rows.state, 6)
    # of living allies it is what they observe of themselves
    allies, own = state[:, :30].reshape(-1, 3, 10), rows.obs[..., -10:]
    alive = allies[..., 0] > 0
    np.testing.assert_allclose(allies[alive], own[alive], rtol=1e-5, atol=1e-6)
    assert np.mean((allies[alive, 3] > 0.2) & (allies[alive, 3] < 0.9)) > 0.1
    assert np.min(rows.state) < -1 and np.max(rows.state) > 20
    assert np.min(state) == 0 and np.max(state) <= 1
