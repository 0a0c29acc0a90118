"""Recordings agree with the game: what the file shows is what its actions do in the environment."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config, untrained

from experiments.examples import own_environment
from knife_jax.builders.envs import make_tasks
from knife_jax.builders.trainer import make_trainer
from knife_jax.config.environments import (
    GridPredatorPreyConfig,
    MatrixGameConfig,
    PredatorPreyConfig,
    SmaxConfig,
)
from knife_jax.diagnostics.collect import Measured
from knife_jax.envs.smax import load_rules
from knife_jax.plasticity.stats import DORMANT
from knife_jax.recordings.contents import About, contents, discounted, rounded
from knife_jax.recordings.marks import Team, marks_of, update_activity
from knife_jax.recordings.pack import Arrays, unpacked
from knife_jax.recordings.page import contents_of, page
from knife_jax.training.evaluator import evaluate
from knife_jax.training.recorder import record

pytestmark = pytest.mark.xdist_group("recordings")  # they share programs and pages


E, KEPT = 5, 5
ABOUT = About("title", "subtitle", "note", gamma=0.9, reward_scale=2.0, stagnant=0.5)


def battle(state, e):
    at = state.battle
    rows = {name: getattr(at, name)[:, e] for name in ("x", "y", "health", "cooldown")}
    return rows | {"kind": at.unit_type[:, e]}


def hunt(state, e):
    size = 5
    cells = np.concatenate([state.world.agents[:, e], state.world.prey[:, e]])
    present = cells != 0
    row, column = np.divmod(cells, size + 2)  # both from 1, in a border
    x, y = np.where(present, column - 0.5, 0), np.where(present, size - row + 0.5, 0)
    return {"x": x, "y": y, "present": present}


def pursuit(state, e):
    world = jax.tree.map(lambda leaf: np.asarray(leaf[e]), state.env)
    at, v = np.concatenate([world.position, world.landmark]), world.velocity
    still = np.zeros(len(world.landmark))
    apart = np.linalg.norm(world.position[:3] - world.position[3], axis=1)
    target = np.where(apart < 0.075 + 0.05, 3, -1)
    return {
        "x": at[:, 0], "y": at[:, 1], "vx": np.r_[v[:, 0], still], "vy": np.r_[v[:, 1], still],
        "target": np.r_[target, [-1] * 3],
    }  # fmt: skip


def table(state, e):
    payoffs = np.array([[[0, 0], [0, 0]], [[7, 7], [7, 7]], [[0, 1], [1, 8]], [[0, 0], [0, 0]]])
    number = int(state.env[0][e])
    return {"payoff": payoffs[number], "state": number}


GAMES = {
    "smax": (SmaxConfig(n_envs=7, scenario="3m"), battle),
    "grid": (
        GridPredatorPreyConfig(n_envs=7, scenario="small", size=5, time_limit=13, freeze=True),
        hunt,
    ),
    "mpe": (PredatorPreyConfig(n_envs=7), pursuit),
    "matrix": (MatrixGameConfig(n_envs=7, scenario="two_step"), table),
    "no view": (MatrixGameConfig(n_envs=7, scenario="n_step"), None),
}


@pytest.fixture(scope="module", params=GAMES)
def played(request):
    """An untrained team's episodes, as recorded and as packed, and how they begin."""
    section, shown = GAMES[request.param]
    config = replace(tiny_config(mixer="vdn"), env=section)
    tasks = make_tasks(section, (0,))
    env = tasks.env(0, E)
    if shown is None:
        env = env._replace(view=None)
    learner = make_trainer(config, tasks.env(0, 7), tasks).learner
    variables = untrained(lambda: learner.init(jax.random.key(3)).online)
    key = jax.random.key(11)
    recorded = jax.device_get(jax.jit(partial(record, env, learner, n=KEPT))(variables, key))
    again = recorded.episodes
    if request.param == "smax":  # the others share the code
        again = jax.device_get(jax.jit(partial(evaluate, env, learner))(variables, key))
    team = Team(variables, {"agent/encoder": np.linspace(0, 2, 13)})
    packed = contents(recorded, env.spec, env.view, team, ABOUT)
    return env, key, recorded, again, unpacked(contents_of(page("a < b", packed))), shown


def test_the_episodes_are_those_of_an_evaluation(played):
    _, _, recorded, again, (header, _), _ = played
    jax.tree.map(np.testing.assert_array_equal, recorded.episodes, again)
    for episode, length, returned in zip(
        header["episodes"], again.lengths, again.returns, strict=True
    ):
        assert (episode["length"], np.float32(episode["return"])) == (length, returned)


def test_the_recorded_actions_lead_to_what_is_shown(played):
    env, key, _, _, (header, arrays), shown = played
    episodes = header["episodes"]

    def row(place, t):
        array = arrays[place["at"]]
        return array[min(t, len(array) - 1)]

    def action(t):
        rows = [
            row(one["action"], t) if t < one["length"] else [0] * env.spec.n_agents
            for one in episodes
        ]
        return jnp.asarray(np.array(rows), jnp.int32)

    state, now = jax.jit(env.reset)(key)
    step, returns = jax.jit(env.step), np.zeros(E, np.float32)
    for t in range(max(one["length"] for one in episodes) + 1):
        seen, now = jax.device_get((state, now))
        for e, one in enumerate(episodes):
            if t > one["length"]:
                continue
            for name, value in (shown(seen, e) if shown else {}).items():
                here = row(one["scene"][name], t)
                np.testing.assert_array_equal(here, np.asarray(value, here.dtype), f"{name} {t}")
            for name in () if shown else ("obs", "state"):
                place = one["scene"][name]
                here = place["low"] + place["unit"] * row(place, t).astype(float)
                atol = place["unit"] / 2 + 1e-6
                np.testing.assert_allclose(here, getattr(now, name)[e], atol=atol)
            if t < one["length"]:
                np.testing.assert_array_equal(row(one["available"], t), now.avail_actions[e])
                values = np.where(now.avail_actions[e], row(one["values"], t), -np.inf)
                np.testing.assert_array_equal(row(one["action"], t), values.argmax(axis=-1))
        state, now = jax.device_get(step(state, action(t)))
        for e, one in enumerate(episodes):
            if t < one["length"]:
                assert row(one["reward"], t) == now.reward[e]
                returns[e] += np.float32(now.reward[e])
    assert returns.tolist() == np.float32([one["return"] for one in episodes]).tolist()


def test_what_the_networks_say_is_theirs(played):
    env, _, recorded, _, (header, arrays), _ = played
    said = recorded.decisions
    assert len(header["agents"]) == env.spec.n_agents
    assert len(header["actions"]) == env.spec.n_actions
    for k, one in enumerate(header["episodes"]):
        n = one["length"]
        taken = np.take_along_axis(said.values[:n, k], said.action[:n, k][..., None], axis=-1)
        np.testing.assert_allclose(said.q_tot[:n, k], taken.sum(axis=(1, 2)), rtol=1e-5)  # VDN
        for layer, place in zip(header["layers"], one["activity"], strict=True):
            name = layer["name"].replace(" ", "/", 1)
            steps = place["low"] + place["unit"] * arrays[place["at"]].astype(float)
            h = said.activity[name][:n, k].reshape(n, -1, layer["width"])
            np.testing.assert_allclose(
                np.broadcast_to(steps, h.shape), h, atol=place["unit"] / 2 + 1e-6
            )
    lengths = recorded.episodes.lengths
    rows = [np.abs(said.activity["agent/encoder"][:n, k]) for k, n in enumerate(lengths)]
    mean = np.concatenate(rows).mean(axis=(0, 1))
    np.testing.assert_allclose(recorded.mean_activity["agent/encoder"], mean, rtol=1e-4, atol=1e-7)
    encoder = header["layers"][0]
    assert encoder["stagnant"] == [0, 1, 2]  # of 0, 1/6, 1/3, 1/2, ... below a half
    assert encoder["dormant"] == np.flatnonzero(mean <= DORMANT * mean.mean()).tolist()


def test_a_view_has_a_name_for_each_body_and_action():
    view = make_tasks(SmaxConfig(n_envs=1, scenario="2s3z"), (0,)).env(0, 1).view
    rules = load_rules("2s3z")
    assert view.actions == (
        "north", "east", "south", "west", "stop", *(f"attack {i}" for i in range(1, 6))
    )  # fmt: skip
    assert [body.team for body in view.stage.bodies] == ["agent"] * 5 + ["enemy"] * 5
    stalker, zealot = view.stage.kinds[2:4]
    assert (stalker.name, zealot.name) == ("stalker", "zealot")
    assert stalker.health == rules.by_type["health"][2] and zealot.reach == 2.0
    assert set(rules.unit_types.tolist()) == {2, 3}


def test_the_example_of_ones_own_environment_has_a_view():
    env = own_environment.make(length=9)
    state, now = env.reset(jax.random.key(0))
    scene = env.view.look(state, now)
    assert scene["x"].tolist() == (state[0] + 0.5).tolist() and scene["y"].shape == (2,)
    assert (env.view.stage.right, len(env.view.actions)) == (9, env.spec.n_actions)


def test_marks_by_hand():
    grafts = {"agent": {"encoder": {"used": np.array([0, 2, 1, 0])}}}
    team = Team({"grafts": grafts}, {"agent/encoder": np.array([0.1, 0.3, 2.0, 0.25])})
    means = {"agent/encoder": np.array([0.0, 0.05, 0.95, 1.0]), "agent/memory": np.zeros(2)}
    marks = marks_of(team, means, 0.25)
    encoder = marks["agent/encoder"]
    assert (encoder.stagnant, encoder.dormant) == ([0], [0, 1])  # layer mean 0.5
    assert encoder.grafts.tolist() == [0, 2, 1, 0]
    assert marks["agent/memory"][2:] == ([], [], None)


def test_what_no_gradient_has_reached_is_not_stagnant():
    ages = {"seen": np.array([0, 5, 5]), "unseen": np.zeros(3, int)}
    means = {"seen": np.array([0.0, 1.0, 3.0]), "unseen": np.zeros(3)}
    found = update_activity({name: Measured(means[name], ages[name]) for name in means})
    assert [[*map(rounded, found[name])] for name in means] == [[0.0, 0.75, 2.25], [None] * 3]
    marks = marks_of(Team({}, found), {name: np.ones(3) for name in means}, 0.25)
    assert {name: marks[name].stagnant for name in means} == {"seen": [0], "unseen": []}


def test_the_return_that_followed_by_hand():
    assert discounted([1.0, 0.0, 2.0], 0.5, 10.0).tolist() == [15.0, 10.0, 20.0]


def test_whole_numbers_beyond_two_bytes_are_kept():
    arrays = Arrays()
    values = np.array([[1, -40_000], [300, 70_000]], np.int32)
    wide, narrow = arrays.put(values), arrays.put(values // 1000)
    _, found = unpacked(arrays.packed({"episodes": [wide, narrow]}))
    np.testing.assert_array_equal(found[wide["at"]], values)
    np.testing.assert_array_equal(found[narrow["at"]], values // 1000)
    assert found[narrow["at"]].dtype == np.int16
