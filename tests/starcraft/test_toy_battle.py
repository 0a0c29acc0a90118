"""The stub's battles against numbers by hand."""

import random

import pytest
from toy_battle import IDLE, MOVE, N_TYPES, STOP, Battle

MARINE, ZEALOT, MEDIVAC, ENEMY_ZEALOT, ENEMY_BANELING = N_TYPES - 5, N_TYPES - 2, N_TYPES - 4, 73, 9


def battle(*units, seed=0):
    made = Battle(seed)
    for type_, owner, x, y in units:
        made.create(type_, owner, x, y)
    return made, [*made.units.values()]


def run(made, loops):
    for _ in range(loops):
        made.step()


def test_new_units_stand_still_and_a_hit_takes_shields_first():
    made, (marine, zealot) = battle((MARINE, 1, 8, 16), (ENEMY_ZEALOT, 2, 12, 16))
    before = zealot.x
    run(made, IDLE)
    assert (zealot.x, zealot.shield, zealot.health, marine.health) == (before, 50, 100, 45)
    run(made, 1)
    assert (zealot.shield, zealot.health) == (44, 100)
    zealot.hurt(50)
    assert (zealot.shield, zealot.health) == (0, 94)


def test_a_unit_walks_at_its_speed_to_where_it_was_sent_and_not_off_the_map():
    made, (unit,) = battle((MARINE, 1, 8, 16))
    x, y = unit.x, unit.y
    made.command(unit.tag, MOVE, (x + 2, y))
    run(made, IDLE + 5)
    assert unit.x == pytest.approx(x + 5 * 0.14) and unit.order is not None
    run(made, 10)
    assert (unit.x, unit.y) == (pytest.approx(x + 2), y) and unit.order is None
    made.command(unit.tag, MOVE, (x, 99))
    run(made, 200)
    assert unit.y == 31.5
    made.command(unit.tag, STOP, None)
    assert unit.order is None


def test_a_medivac_gives_health_for_its_energy():
    made, (_, zealot) = battle((MEDIVAC, 1, 8, 16), (ZEALOT, 1, 9, 16))
    zealot.hurt(60)
    run(made, IDLE + 5)
    medivac = made.units[min(made.units)]
    assert zealot.health == pytest.approx(90 + 5 * 0.8)
    assert medivac.energy == pytest.approx(50 - 5 * 0.33)


def test_a_baneling_takes_its_neighbours_with_it():
    made, _ = battle((MARINE, 1, 8, 16), (MARINE, 1, 8, 16), (ENEMY_BANELING, 2, 8, 16))
    run(made, IDLE + 1)
    marines = [*made.units.values()]  # the marines' own shots hit in the same loop
    assert [unit.health for unit in marines] == [29, 29]


def test_two_against_one_win_and_the_seed_decides_the_rest():
    def play(seed):
        made, _ = battle(*[(MARINE, 1, 10, 16)] * 2, (48, 2, 20, 16), seed=seed)
        run(made, 300)
        return [(unit.owner, unit.x, unit.health) for unit in made.units.values()]

    random.seed(0)  # a battle draws nothing from here
    first = play(1)
    assert {owner for owner, _, _ in first} == {1}
    random.seed(1)
    assert play(1) == first != play(2)
