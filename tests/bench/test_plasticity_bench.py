"""The plasticity benchmark in small: its recipes, its numbers, its output."""

import json

import numpy as np
import pytest

from knife_jax.bench import compare, tasks
from knife_jax.bench.compare import interval, main
from knife_jax.bench.recipes import matched, parameters, recipes
from knife_jax.bench.supervised import Outcome
from knife_jax.bench.tasks import Size, chain, expressivity
from knife_jax.plasticity.methods import METHODS

SMALL = Size(phases=3, steps=61, rows=29, seeds=2)
RECIPES = recipes(slots=2, window=37, steps=183)


def test_every_registered_method_is_compared():
    """``reset_full`` at every switch goes by the name of what it is there, an oracle."""
    renamed = {"reset_full": "fresh_per_task"}
    assert {renamed.get(name, name) for name in METHODS} | {"knife_random"} == set(RECIPES)
    assert list(RECIPES)[:4] == ["none", "fresh_per_task", "wider", "knife"]
    for recipe in RECIPES.values():
        tasks.treatment(recipe, 16, (5, 5), 4, 3e-3)  # raises where layers in a row do not suit it


def test_parameters_by_hand():
    assert parameters(3, (4,), 1) == 3 * 4 + 4 + 4 * 1 + 1
    assert parameters(3, (4,), 1, slots=2) == 16 * 5 + 5
    widths = matched(16, (64, 64), 4, slots=3)
    goal = parameters(16, (64, 64), 4, slots=3)
    assert goal == (17 * 64 + 65 * 64) * 7 + 65 * 4
    assert abs(parameters(16, widths, 4) / goal - 1) < 0.01 and widths[0] == widths[1]


def test_interval_by_hand():
    # mean 3, standard deviation 1, n = 3: 4.303 / sqrt(3)
    found = interval(np.array([2.0, 3.0, 4.0]))
    assert found == pytest.approx((3.0, 2.4843), rel=1e-3)


@pytest.mark.parametrize("name", ["none", "knife", "redo"])
def test_a_short_chain(name):
    outcome = chain(RECIPES[name], SMALL, widths=(13, 11))
    for values in outcome:
        assert values.shape == (2, 3) and np.all(np.isfinite(values))
    assert np.all(outcome.loss[:, 0] < 0.7)  # something is learnt
    assert outcome.loss[0, 0] != outcome.loss[1, 0]
    if name == "knife":
        assert np.all(outcome.jump == 0)
        assert np.all(np.diff(outcome.slots_used, axis=1) >= 0) and outcome.slots_used[0, -1] > 0
    else:
        assert np.all(outcome.slots_used == 0)
        assert np.any(outcome.jump > 0) == (name == "redo")


def test_a_forced_dormant_neuron_costs_the_plain_network():
    fits = expressivity(RECIPES["none"], Size(phases=1, steps=400, rows=101, seeds=3))
    assert fits.shape == (3, 4)
    assert fits[:, 3].mean() > 1.5 * fits[:, 0].mean()


def test_the_command_ends_with_a_line_of_json(tmp_path, monkeypatch, capsys):
    outcome = Outcome(*(np.arange(8.0).reshape(2, 4) for _ in Outcome._fields))
    monkeypatch.setattr(compare, "chain", lambda recipe, size: outcome)
    monkeypatch.setattr(compare, "expressivity", lambda recipe, size: np.ones((2, 4)))
    picture = tmp_path / "figure.png"
    main(["--quick", "--methods", "none,redo", "--seeds", "2", "--figure", str(picture)])
    out = capsys.readouterr().out.splitlines()
    numbers = json.loads(out[-1])
    assert list(numbers["methods"]) == ["none", "redo"]
    assert numbers["methods"]["none"]["first"][0] == 2.0  # tasks of the first quarter: 0 and 4
    assert numbers["methods"]["none"]["last"][0] == 5.0
    assert numbers["methods"]["none"]["jump_max"] == 7.0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert out[0].startswith("method") and out[1].startswith("none")
    assert len(tasks.DORMANT) == len(numbers["methods"]["redo"]["expressivity"])


def test_an_unknown_method_is_refused_in_words(capsys):
    with pytest.raises(SystemExit) as refused:
        main(["--methods", "none,rodo"])
    assert refused.value.code == 2 and "unknown method 'rodo'" in capsys.readouterr().err
