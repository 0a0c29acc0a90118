"""Starts of SMAX as tasks: races, distributions of unit types, generators of places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.cli import compose
from knife_jax.config.scenarios import SMAX_DRAWN, SMAX_RACES
from knife_jax.config.schema import ConfigError
from knife_jax.envs import sequences
from knife_jax.envs.smax import (
    Mix,
    batched_smax,
    draw_start,
    load_rules,
    n_draws,
    n_randoms,
    observe,
    open_battle,
    scale_randoms,
    step,
)
from knife_jax.envs.smax.physics import push
from knife_jax.envs.smax.start import reflect

E = 499
TYPES = {"terran": (0, 1), "protoss": (2, 3), "zerg": (4, 5)}


def starts(scenario, key, mix=None):
    rules = load_rules(scenario)
    draw = jax.jit(lambda uniform, mix: draw_start(rules, uniform, mix))
    start = draw(jax.random.uniform(key, (n_draws(rules), E)), mix)
    return rules, jax.tree.map(np.asarray, start)


@pytest.mark.parametrize("scenario", ["terran_5_vs_5", "protoss_5_vs_5", "zerg_10_vs_11"])
def test_races_have_their_two_types_in_equal_shares(scenario, key):
    rules, start = starts(scenario, key)
    race, allies, _, enemies = scenario.split("_")
    assert (rules.n_allies, rules.n_enemies) == (int(allies), int(enemies))
    assert set(np.unique(start.unit_type)) == set(TYPES[race])
    n = rules.n_allies
    np.testing.assert_array_equal(start.unit_type[:n], start.unit_type[n : 2 * n])
    extra = start.unit_type[2 * n :]
    assert extra.shape == (rules.n_extra, E)
    for drawn in (start.unit_type[:n], extra) if rules.n_extra else (start.unit_type[:n],):
        assert abs(np.mean(drawn == TYPES[race][0]) - 0.5) < 0.07


def test_every_race_is_an_environment():
    for scenario in SMAX_RACES:
        allies, enemies = (int(part) for part in scenario.split("_")[1::2])
        spec = batched_smax(scenario, 1).spec
        n_units = allies + enemies
        sizes = (allies, 5 + enemies, 13 * (n_units - 1) + 10, 12 * n_units)
        assert (spec.n_agents, spec.n_actions, spec.obs_size, spec.state_size) == sizes
    env = batched_smax("zerg_10_vs_11", 3)
    start = jax.eval_shape(env.reset, jax.random.key(0))[0]
    _, rows = jax.eval_shape(env.step, start, jnp.zeros((3, 10), jnp.int32))
    assert rows.obs.shape == (3, 10, 270) and rows.state.shape == (3, 252)


def test_a_task_decides_how_types_and_places_are_drawn(key):
    weights = jnp.array([0.0, 0.7, 0.0, 0.1, 0.2, 0.0])
    rules, start = starts("smacv2_5_units", key, Mix(weights, 1.0))
    shares = [np.mean(start.unit_type == kind) for kind in range(6)]
    np.testing.assert_allclose(shares, weights, atol=0.03)
    # surrounding: one team is in the centre, always; mirroring: allies are all on the left
    near = np.hypot(start.x - rules.width / 2, start.y - rules.height / 2) < 5
    inside = near[:5].all(0) | near[5:].all(0)
    assert inside.mean() > 0.95
    _, mirrored = starts("smacv2_5_units", key, Mix(weights, 0.0))
    assert (mirrored.x[:5] < rules.width / 2 + 3).all()
    assert (np.hypot(mirrored.x - 16, mirrored.y - 16) < 5).all(0).mean() < 0.05
    uniform = Mix(jnp.full(6, 1 / 6), 0.5)
    for mine, usual in zip(
        starts("smacv2_5_units", key, uniform)[1], starts("smacv2_5_units", key)[1], strict=True
    ):
        np.testing.assert_allclose(mine, usual, atol=1e-5)


def test_sequences_of_battles():
    types = sequences.battles("zerg_5_vs_5", "types", 7, 0).params
    assert not types.type_weights[:, :4].any() and (types.surround == 0.5).all()
    np.testing.assert_allclose(types.type_weights.sum(1), 1, rtol=1e-6)
    assert len(np.unique(types.type_weights[:, 4])) == 7
    both = sequences.battles("smacv2_5_units", "all", 7, 0).params
    assert (both.type_weights > 0).all() and set(both.surround) == {0.0, 1.0}
    assert {"smacv2_5_units", *SMAX_RACES} < set(SMAX_DRAWN)


def test_enemies_grow_in_number_and_each_drawing_in_its_own_way():
    drawn = [sequences.battles("terran_10_vs_11", "enemies", 4, (0, s)).params for s in range(60)]
    counts = np.array([params.n_enemies for params in drawn])
    assert (np.diff(counts) >= 0).all() and counts.dtype == np.int32
    for task, of_task in enumerate(counts.T):  # 1 to 3 in the first quarter of 1 to 11, and so on
        low, high = 1 + 11 * task // 4, 1 + -(-11 * (task + 1) // 4)
        assert {*of_task} == {*range(low, high)}
    assert (np.array([params.surround for params in drawn]) == 0.5).all()
    as_many = sequences.battles("terran_5_vs_5", "enemies", 5, 3).params
    assert as_many.n_enemies.tolist() == [1, 2, 3, 4, 5]
    types = sequences.battles("smacv2_5_units", "types", 3, 0).params
    assert types.n_enemies.tolist() == [5, 5, 5]
    every = sequences.battles("smacv2_5_units", "all", 5, 0).params
    assert every.n_enemies.tolist() == [1, 2, 3, 4, 5]


def test_enemies_that_a_task_does_without_are_dead_from_the_start(key):
    """Two of five are there: the others are neither seen, nor a target, nor worth anything."""
    rules, weights = load_rules("terran_5_vs_5"), jnp.array([1.0, 0, 0, 0, 0, 0])
    mix = Mix(weights, 0.0, jnp.int32(2))
    uniform = jax.random.uniform(key, (n_draws(rules), E))

    @jax.jit
    def begun(uniform):
        start = draw_start(rules, uniform, mix)
        x, y = reflect(rules, uniform[:10], uniform[10:20])
        alone = push(x[:7], y[:7], jnp.ones((7, E), bool), jnp.full((7, E), 0.375))
        battle = open_battle(rules, start, mix)
        return start, alone, battle, observe(rules, battle)

    start, alone, battle, (obs, state, avail) = jax.device_get(begun(uniform))
    np.testing.assert_allclose((start.x[:7], start.y[:7]), alone, rtol=1e-6)
    assert (battle.health > 0).sum(0).tolist() == [7] * E
    seen = np.asarray(obs[..., :-10]).reshape(E, 5, 9, 13)
    assert not seen[:, :, 6:].any() and seen[:, :, 4:6].any()
    assert not np.asarray(state).reshape(E, -1)[:, 70:100].any()
    assert not np.asarray(avail)[:, :, 7:].any() and np.asarray(avail)[:, :, :7].any((0, 1)).all()
    # both are killed: a whole health is the reward, and the battle is won
    x, y = np.array(battle.x), np.array(battle.y)
    x[5:], y[5:], x[1], y[1] = x[0] + 1, y[0], x[0] - 1, y[0]
    health = np.where(battle.health > 0, np.float32(9), np.float32(0))
    health[:5] = 45
    orders = np.full((5, E), 4)
    orders[:2] = [[5], [6]]

    @jax.jit
    def fought(battle, orders):
        randoms = scale_randoms(rules, jnp.full((n_randoms(rules), E), 0.5))
        return step(rules, battle, orders, randoms, mix)[1]

    outcome = fought(battle.replace(x=x, y=y, health=health), orders)
    assert outcome.won.all() and outcome.terminated.all()
    np.testing.assert_allclose(outcome.reward, 2 * (9 / 45) / 2 + 1, rtol=1e-6)


def test_jaxmarl_has_no_races():
    with pytest.raises(ConfigError, match=r"env\.impl=jaxmarl is refused: must be batched"):
        compose(["env=smax", "env.scenario=zerg_5_vs_5", "env.impl=jaxmarl"])
