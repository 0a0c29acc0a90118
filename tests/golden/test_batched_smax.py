"""The batched SMAX beside JaxMARL: single steps, starts, and what it adds as a VecEnv."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.config.scenarios import SMAX_SCENARIOS
from knife_jax.envs import smax as package
from knife_jax.envs.smax import (
    batched_smax,
    draw_start,
    load_rules,
    n_draws,
    n_randoms,
    open_battle,
    physics,
    scale_randoms,
    step,
)
from knife_jax.envs.smax.parity import compare

pytestmark = pytest.mark.xdist_group("batched_smax")  # they share programs

TIE = 1e-3
ENVS, SEEDS, PERIOD = 13, 3, 5


@pytest.fixture(autouse=True, scope="module")
def compile_quickly():
    """These programs take longer to compile than to run."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize("scenario", ["5m_vs_6m", "smacv2_5_units"])
def test_one_step_is_jaxmarls(scenario, key):
    """Same state and random numbers: equal but for rounding, or for a comparison of near equals."""
    gaps = jax.device_get(compare(scenario, 23, 67, key))
    tied = np.any([gap > TIE for gap in gaps.values()], axis=0)
    assert tied.mean() <= 0.002
    for name, gap in gaps.items():
        assert gap[~tied].max() <= 1e-4, name
    for name in (
        "action",
        "aim",
        "steps",
        "unit_type",
        "terminated",
        "truncated",
        "won",
        "avail_actions",
    ):
        assert gaps[name][~tied].max() == 0, name


def jaxmarl_draws(rules, key):
    """The uniform numbers of ``draw_start`` that are equivalent to what JaxMARL's reset draws."""
    n, m = rules.n_allies, rules.n_enemies
    _, key = jax.random.split(key)
    key, *team_keys = jax.random.split(key, 3)
    key, place_key = jax.random.split(key)
    _, type_key = jax.random.split(key)
    uniform = jax.random.uniform
    if not rules.random_positions:
        teams = zip(team_keys, (n, m), strict=True)
        return jnp.concatenate([uniform(k, (size, 2)) for k, size in teams]).T.ravel()
    coin_key, around_key, mirror_key = jax.random.split(place_key, 3)
    coin = uniform(coin_key)
    mirror_rest, mirror_ally = jax.random.split(mirror_key)
    mirror = [uniform(mirror_ally, (n, 2)), uniform(mirror_rest, (max(m - n, 0), 2))]
    padding = jnp.zeros((min(n, m), 2))
    mirror = jnp.concatenate([mirror[0], padding, mirror[1]])

    around_key, *inside_keys = jax.random.split(around_key, 3)
    ally_inside = jax.random.randint(around_key, (), 0, 2)
    sides = []
    for inside_key, n_in, n_out in zip(inside_keys, (n, m), (m, n), strict=True):
        inside_key, noise_key = jax.random.split(inside_key)
        inside = uniform(noise_key, (n_in, 2))
        inside_key, group_key = jax.random.split(inside_key)
        group = jax.random.categorical(group_key, jnp.log(jnp.ones(4) / 4), shape=(n_out,))
        inside_key, depth_key = jax.random.split(inside_key)
        depth = uniform(depth_key, (4,))
        outside = uniform(jax.random.split(inside_key)[1], (n_out, 2))
        sides.append((inside, outside, (group + 0.5) / 4, depth))
    (in_a, out_a, group_a, depth_a), (in_e, out_e, group_e, depth_e) = sides
    join = jnp.concatenate
    ally_sides = (join([in_a, out_a]), join([jnp.zeros(n), group_a]), depth_a)
    enemy_sides = (join([out_e, in_e]), join([group_e, jnp.zeros(m)]), depth_e)
    around, group, depth = jax.tree.map(
        lambda a, e: jnp.where(ally_inside, a, e), ally_sides, enemy_sides
    )
    places = jnp.where(coin < 0.5, around, mirror).T.ravel()
    logits = jnp.log(jnp.ones(rules.n_types) / rules.n_types)
    types = jax.random.categorical(jax.random.split(type_key)[1], logits, shape=(n,))
    coins = jnp.stack([coin, 0.25 + 0.5 * ally_inside])
    return jnp.concatenate([places, coins, depth, group, (types + 0.5) / rules.n_types])


@pytest.fixture
def uneven(request):
    """A generated scenario of unequal teams, registered with JaxMARL while the test runs."""
    from jaxmarl.environments.smax import Scenario, register_scenario
    from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO

    n, m = request.param
    name = f"uneven_{n}_vs_{m}"
    register_scenario(name, Scenario(jnp.zeros(n + m, jnp.uint8), n, m, True, True))
    types = np.zeros(n + m, np.int32)
    yield dataclasses.replace(
        load_rules("smacv2_5_units"), scenario=name, n_allies=n, n_enemies=m, unit_types=types
    )
    del MAP_NAME_TO_SCENARIO[name]


def starts_agree(rules, key):
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

    theirs = HeuristicEnemySMAX(scenario=map_name_to_scenario(rules.scenario))
    keys = jax.random.split(key, 31)
    _, state = jax.jit(jax.vmap(theirs.reset))(keys)
    draws = jax.jit(jax.vmap(functools.partial(jaxmarl_draws, rules), out_axes=1))(keys)
    assert draws.shape == (n_draws(rules), 31)
    battle = jax.jit(lambda draws: open_battle(rules, draw_start(rules, draws)))(draws)
    true = state.state
    np.testing.assert_allclose(battle.x.T, true.unit_positions[..., 0], atol=1e-4)
    np.testing.assert_allclose(battle.y.T, true.unit_positions[..., 1], atol=1e-4)
    np.testing.assert_array_equal(battle.unit_type.T, true.unit_types)
    np.testing.assert_array_equal(battle.health.T, true.unit_health)
    assert not battle.cooldown.any() and not battle.steps.any()


@pytest.mark.parametrize("scenario", ["3s_vs_5z", "smacv2_5_units"])
def test_starts_are_jaxmarls(scenario, key):
    starts_agree(load_rules(scenario), key)


@pytest.mark.parametrize("uneven", [(3, 5), (5, 2)], indirect=True)
def test_generated_teams_of_unequal_size_start_as_in_jaxmarl(uneven, key):
    starts_agree(uneven, key)


@pytest.mark.parametrize("scenario", SMAX_SCENARIOS)
def test_every_named_scenario_has_jaxmarls_sizes(scenario):
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

    theirs = HeuristicEnemySMAX(scenario=map_name_to_scenario(scenario))
    rules, spec = load_rules(scenario), batched_smax(scenario, 2).spec
    units = (rules.random_types, rules.random_positions, rules.unit_types.tolist())
    table = map_name_to_scenario(scenario)
    drawn = (table.smacv2_unit_type_generation, table.smacv2_position_generation)
    assert units == (*drawn, np.asarray(table.unit_types).tolist())
    assert spec == (
        f"smax/{scenario}",
        theirs.num_allies,
        theirs.num_ally_actions,
        theirs.obs_size,
        theirs.state_size,
        101,
        True,
    )


def test_the_numbers_of_the_rules_are_jaxmarls():
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

    rules, theirs = load_rules("3m"), HeuristicEnemySMAX(scenario=map_name_to_scenario("3m"))
    of_types = {
        "health": theirs.unit_type_health,
        "velocity": theirs.unit_type_velocities,
        "damage": theirs.unit_type_attacks,
        "reach": theirs.unit_type_attack_ranges,
        "sight": theirs.unit_type_sight_ranges,
        "radius": theirs.unit_type_radiuses,
        "reload": theirs.unit_type_weapon_cooldowns,
    }
    assert rules.by_type.keys() == of_types.keys()
    for name, numbers in of_types.items():
        np.testing.assert_array_equal(rules.by_type[name], np.asarray(numbers, np.float32), name)
    mine = (rules.width, rules.height, rules.dt, rules.substeps, rules.time_limit, rules.win_bonus)
    assert mine == (
        theirs.map_width, theirs.map_height, theirs.time_per_step, theirs.world_steps_per_env_step,
        theirs.max_steps, theirs.won_battle_bonus,
    )  # fmt: skip
    assert rules.n_types == theirs.unit_type_bits
    assert (theirs.enemy_shoots, theirs.walls_cause_death, theirs.see_enemy_actions) == (True,) * 3
    ways = (theirs.attack_mode, theirs.observation_type, theirs.action_type)
    assert ways == ("closest", "unit_list", "discrete")
    assert (theirs.use_self_play_reward, theirs.num_movement_actions) == (False, 5)


def test_an_unknown_scenario_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'4m'.*27m_vs_30m"):
        batched_smax("4m", 3)


@pytest.mark.parametrize(("n_envs", "period"), [(0, 8), (5, 0)])
def test_impossible_sizes_are_refused(n_envs, period):
    with pytest.raises(ValueError, match="positive"):
        batched_smax("3m", n_envs, reset_period=period)


@functools.cache
def played(scenario, n_steps):
    """Rows [S, T + 1, E] under random available actions, and every seed's states."""
    env = batched_smax(scenario, ENVS, reset_period=PERIOD)

    def play(key):
        def body(carry, key):
            state, row = carry
            action = jax.random.categorical(key, jnp.where(row.avail_actions, 0.0, -jnp.inf))
            state, row = env.step(state, action)
            return (state, row), (row, state.battle)

        key, reset_key = jax.random.split(key)
        state, row = env.reset(reset_key)
        _, rest = jax.lax.scan(body, (state, row), jax.random.split(key, n_steps))
        whole = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), (row, state.battle), rest)
        return whole

    keys = jax.random.split(jax.random.key(5), SEEDS)
    return jax.device_get(jax.jit(jax.vmap(play))(keys))


def test_an_end_has_its_own_row_and_the_next_row_is_a_start():
    rows, battles = played("smacv2_5_units", 53)
    assert rows.last.sum() > SEEDS * ENVS / 2
    assert rows.first[:, 0].all()
    np.testing.assert_array_equal(rows.first[:, 1:], rows.last[:, :-1])
    assert not (rows.terminated & rows.truncated).any() and not (rows.won & ~rows.terminated).any()
    assert not rows.reward[rows.first].any()
    steps = battles.steps
    assert not steps[rows.first].any() and (steps[~rows.first] > 0).all()
    health = np.moveaxis(battles.health, 2, -1)
    sides = (health[..., :5] > 0).any(-1), (health[..., 5:] > 0).any(-1)
    np.testing.assert_array_equal(rows.terminated, ~(sides[0] & sides[1]))
    np.testing.assert_array_equal(rows.won, sides[0] & ~sides[1])
    assert (health[rows.first] > 0).all()


def test_starts_differ_between_seeds_environments_and_episodes():
    rows, _ = played("smacv2_5_units", 53)
    starts = [rows.state[at].tobytes() for at in map(tuple, np.argwhere(rows.first))]
    assert len(set(starts)) == len(starts) > 1.5 * SEEDS * ENVS


def test_the_time_limit_truncates_after_101_transitions(key):
    """JaxMARL tests its limit of 100 before it counts the step."""
    rules = load_rules("3m")
    start = draw_start(rules, jax.random.uniform(key, (n_draws(rules), ENVS)))
    battle = open_battle(rules, start).replace(steps=jnp.full(ENVS, 99, jnp.int32))
    randoms = scale_randoms(rules, jnp.full((n_randoms(rules), ENVS), 0.5))
    stop = jnp.full((rules.n_allies, ENVS), 4)
    once = jax.jit(lambda battle: step(rules, battle, stop, randoms))
    battle, outcome = once(battle)
    assert not outcome.truncated.any()
    _, outcome = once(battle)
    assert outcome.truncated.all() and not outcome.terminated.any() and not outcome.won.any()


def test_a_weapon_fires_at_most_once_within_a_step():
    """So one random number per weapon and step is as good as JaxMARL's one per world step."""
    rules = load_rules("2s3z")
    shortest = rules.by_type["reload"].min() - rules.dt
    assert shortest > (rules.substeps - 2) * rules.dt and rules.shots == 1


def test_unrolled_and_looping_folds_agree(key, monkeypatch):
    def unrolled(body, init, n):
        for i in range(n):
            init = body(i, init)
        return init

    rules = load_rules("3s_vs_5z")
    keys = jax.random.split(key, 3)
    start = draw_start(rules, jax.random.uniform(keys[0], (n_draws(rules), ENVS)))
    battle = open_battle(rules, start)
    randoms = scale_randoms(rules, jax.random.uniform(keys[1], (n_randoms(rules), ENVS)))
    east = jnp.ones((rules.n_allies, ENVS), jnp.int32)
    loop = jax.jit(lambda battle: step(rules, battle, east, randoms)[0])
    for _ in range(13):
        battle = loop(battle)
    looping = loop(battle)
    for module in (physics, package.heuristic):
        monkeypatch.setattr(module, "fold", unrolled)
    again = jax.jit(lambda battle: step(rules, battle, east, randoms)[0])(battle)
    assert (again.health < battle.health).any()
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), again, looping)
