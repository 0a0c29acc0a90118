"""SMACv2's battles by hand, and our sampler against its distributions."""

import math
import os
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare, ks_2samp

from knife_jax.config.scenarios import SMACV2_SCENARIOS
from knife_jax.envs.smacv2.worker import sampler
from knife_jax.envs.smacv2.worker.rows import Order
from knife_jax.envs.smacv2.worker.scenarios import (
    ALONE,
    HEALTH,
    UNITS,
    WEIGHTS,
    Task,
    expected_reward,
    scenario,
    sizes,
)

DRAWS = 10_000
SURE = 0.001
SIZES = {
    "terran_5_vs_5": (82, 120, 11), "protoss_5_vs_5": (92, 130, 11),
    "zerg_10_vs_10": (162, 290, 16), "protoss_10_vs_10": (182, 310, 16),
    "zerg_10_vs_11": (170, 306, 17), "protoss_10_vs_11": (191, 327, 17),
    "terran_20_vs_20": (322, 780, 26), "protoss_20_vs_20": (362, 820, 26),
    "zerg_20_vs_23": (346, 858, 29), "protoss_20_vs_23": (389, 901, 29),
}  # fmt: skip
"""observation, state, actions: read off upstream's environment"""


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_upstreams(name):
    made = sizes(name)
    assert (made.obs_size, made.state_size, made.n_actions) == SIZES[name]
    assert (made.n_agents, made.horizon) == (scenario(name).n_units, 200)


def test_padding_makes_all_races_as_large_as_the_one_with_shields():
    for size in ("5_vs_5", "10_vs_11", "20_vs_23"):
        padded = {sizes(f"{race}_{size}", padded=True) for race in UNITS}
        assert padded == {sizes(f"protoss_{size}")}
    assert len(SMACV2_SCENARIOS) == 15


def chance(race, team):
    """The probability of a team, in order; drawn again if it is of the lonely kind alone."""
    weight = dict(zip(UNITS[race], WEIGHTS, strict=True))
    alone = weight[ALONE[race]] ** len(team) if ALONE[race] else 0.0
    if all(unit == ALONE[race] for unit in team):
        return 0.0
    return math.prod(weight[unit] for unit in team) / (1 - alone)


@pytest.mark.parametrize("race", UNITS)
def test_teams_have_the_probabilities_that_are_worked_out_by_hand(race):
    random = np.random.default_rng(5)
    seen = Counter(tuple(sampler.team(random, race, WEIGHTS, 2)) for _ in range(DRAWS))
    teams = [team for team in product(UNITS[race], repeat=2) if chance(race, team)]
    assert {*seen} <= {*teams}
    expected = [DRAWS * chance(race, team) for team in teams]
    assert chisquare([seen[team] for team in teams], expected).pvalue > SURE


def test_the_rest_of_the_enemies_are_drawn_and_the_first_are_the_allies():
    random = np.random.default_rng(6)
    battle, task = scenario("zerg_10_vs_11"), Task("zerg")
    rest = Counter()
    for _ in range(2000):
        teams = sampler.draw(random, task, battle)["team_gen"]
        assert teams["enemy_team"][:10] == teams["ally_team"]
        rest[teams["enemy_team"][10]] += 1
    # one alone is never a baneling
    assert set(rest) == {"zergling", "hydralisk"}
    assert chisquare([*rest.values()]).pvalue > SURE


def test_enemies_of_weights_of_their_own():
    random = np.random.default_rng(7)
    task = Task("protoss", (1.0, 0.0, 0.0), enemy_weights=(0.0, 0.0, 1.0))
    teams = sampler.draw(random, task, scenario("protoss_10_vs_11"))["team_gen"]
    assert teams["ally_team"] == ["stalker"] * 10 and teams["enemy_team"] == ["colossus"] * 11


def places(task, seed, n=DRAWS // 10):
    random, battle = np.random.default_rng(seed), scenario("terran_10_vs_11")
    drawn = [sampler.draw(random, task, battle) for _ in range(n)]
    return [
        np.stack([d[f"{side}_start_positions"]["item"] for d in drawn])
        for side in ("ally", "enemy")
    ]


def test_enemies_stand_mirrored():
    allies, enemies = places(Task("terran", reflect=1.0), 8)
    assert np.allclose(enemies[:, :10], allies * (-1, 1) + (32, 0))
    assert allies.min() >= 0 and allies[..., 0].max() <= 15 and allies[..., 1].max() <= 32
    assert enemies[:, 10, 0].min() >= 16 and enemies[:, 10].max() <= 32


def test_enemies_surround_the_allies_in_one_to_four_groups():
    allies, enemies = places(Task("terran", reflect=0.0), 9)
    assert (allies == 16).all()
    off = np.abs(enemies - 16)
    assert np.allclose(off[..., 0], off[..., 1]) and off.min() >= 2 - 1e-9 and off.max() <= 16
    groups = [len(np.unique(row.round(9), axis=0)) for row in enemies]
    assert {*groups} == {1, 2, 3, 4}


def test_an_episode_is_a_function_of_its_order():
    battle, task = scenario("zerg_5_vs_5"), Task("zerg")
    orders = [Order(*numbers) for numbers in product((0, 1), (7, 2**63), (0, 1), (0, 1))]

    def drawn(order):
        return repr(sampler.draw(sampler.generator(order), task, battle))

    assert len({drawn(order) for order in orders}) == len(orders)
    assert drawn(orders[3]) == drawn(Order(*orders[3]))


@pytest.mark.parametrize("name", ["terran_5_vs_5", "protoss_10_vs_10", "zerg_10_vs_11"])
def test_the_expected_reward_is_the_mean_of_what_is_drawn(name):
    battle = scenario(name)
    task, random = Task(battle.race), np.random.default_rng(4)
    drawn = [
        sum(HEALTH[unit] for unit in sampler.draw(random, task, battle)["team_gen"]["enemy_team"])
        for _ in range(DRAWS // 2)
    ]
    fixed = 10 * battle.n_enemies + 200
    error = np.std(drawn) / math.sqrt(len(drawn))
    assert abs(np.mean(drawn) + fixed - expected_reward(task, *battle[1:])) < 4 * error


def test_the_expected_reward_by_hand():
    """Two protoss units: each is a stalker (160), zealot (150) or colossus (350)."""
    each = 0.45 * 160 + 0.45 * 150 + 0.1 * 350
    assert math.isclose(expected_reward(Task("protoss"), 2, 2), 2 * each + 2 * 10 + 200)
    # a medivac is never alone: of one unit it is a marine or a marauder
    assert math.isclose(expected_reward(Task("terran"), 1, 1), (45 + 125) / 2 + 10 + 200)


@pytest.fixture
def upstream(monkeypatch):
    """SMACv2's own distributions, if there is a copy of it."""
    if source := os.environ.get("SMACV2_SOURCE"):
        monkeypatch.syspath_prepend(source)
    pytest.importorskip("absl", reason="needs the extra smacv2")
    return pytest.importorskip(
        "smacv2.env.starcraft2.distributions",
        reason="SMACv2 is on no package index: SMACV2_SOURCE names a copy of its repository",
    )


@pytest.mark.parametrize("name", ["terran_5_vs_5", "zerg_10_vs_11"])
def test_draws_are_upstreams(upstream, name):
    race, n, m = scenario(name)
    common = {"n_units": n, "n_enemies": m, "map_x": 32, "map_y": 32}
    teams = upstream.get_distribution("weighted_teams")(
        {**common, "env_key": "team_gen", "unit_types": UNITS[race], "weights": WEIGHTS,
         "exception_unit_types": [ALONE[race]]}
    )  # fmt: skip
    starts = upstream.get_distribution("surrounded_and_reflect")(
        {**common, "env_key": "start_positions", "p": 0.5}
    )
    theirs = [{**teams.generate(), **starts.generate()} for _ in range(DRAWS)]
    random = np.random.default_rng(3)
    ours = [sampler.draw(random, Task(race), scenario(name)) for _ in range(DRAWS)]
    for side in ("ally_team", "enemy_team"):
        counts = [
            Counter(drawn["team_gen"][side].count(UNITS[race][0]) for drawn in some)
            for some in (ours, theirs)
        ]
        common_keys = [k for k in counts[1] if counts[0][k] + counts[1][k] >= 20]
        both = np.array([[count[k] for k in common_keys] for count in counts], float)
        expected = both.sum(0) / 2
        assert chisquare(both[0], expected * both[0].sum() / expected.sum()).pvalue > SURE
    for side, axis in product(("ally", "enemy"), (0, 1)):
        samples = [
            [drawn[f"{side}_start_positions"]["item"][-1, axis] for drawn in some]
            for some in (ours, theirs)
        ]
        assert ks_2samp(*samples).pvalue > SURE
    assert "smacv2" in sys.modules and Path(upstream.__file__).exists()
