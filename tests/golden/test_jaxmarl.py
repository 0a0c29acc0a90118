"""``env=jaxmarl`` against JaxMARL's own classes: the same keys and actions, every number equal."""

import ast
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.cli import compose
from knife_jax.config.jaxmarl import COOPERATIVE, REFUSED
from knife_jax.config.schema import ConfigError
from knife_jax.envs.jaxmarl import jaxmarl
from knife_jax.envs.lean_import import jaxmarl_module
from knife_jax.envs.rehearsal import random_actions
from knife_jax.envs.smax.jaxmarl import smax

pytestmark = [
    pytest.mark.xdist_group("jaxmarl"),
    pytest.mark.filterwarnings("ignore:OvercookedV2:DeprecationWarning"),  # by JaxMARL's own
]

EPISODES = 4
CASES = {
    "MPE_simple_spread_v3": ({"max_steps": 9}, 10),
    "MPE_simple_speaker_listener_v4": ({"max_steps": 6}, 7),
    "switch_riddle": ({"num_agents": 4}, 10),
    "hanabi": ({"num_colors": 2, "hand_size": 3, "max_info_tokens": 3}, None),
    "overcooked": ({"layout": "asymm_advantages", "max_steps": 11}, 11),
}
"""arguments, and the most transitions of an episode"""


def theirs(id, args):
    family, _, name = COOPERATIVE[id].partition(":")
    module, args = jaxmarl_module(family), dict(args)
    if "layout" in args:
        args["layout"] = module.overcooked_layouts[args["layout"]]
    return getattr(module, name)(**args)


@pytest.fixture(scope="module", params=CASES)
def played(request):
    """Episodes in the adapter and in JaxMARL's environment, which gets the same actions."""
    args, _ = CASES[request.param]
    env = jaxmarl(request.param, args)
    game = theirs(request.param, args)

    def step(carry, key):
        state, now, original = carry
        action = random_actions(key, now)
        state, now = env.step(key, state, action)
        actions = {agent: action[i] for i, agent in enumerate(game.agents)}
        seen, original, reward, done, _ = game.step_env(key, original, actions)
        return (state, now, original), (now, seen, reward, done["__all__"], legal(game, original))

    def episode(key):
        begin, play = jax.random.split(key)
        state, now = env.reset(begin)
        seen, original = game.reset(begin)
        original = jax.tree.map(
            lambda leaf: jnp.asarray(leaf).astype(jnp.result_type(leaf)), original
        )
        keys = jax.random.split(play, env.spec.horizon)
        _, rows = jax.lax.scan(step, (state, now, original), keys)
        return now, seen, rows

    keys = jax.random.split(jax.random.key(7), EPISODES)
    return request.param, env, game, jax.device_get(jax.jit(jax.vmap(episode))(keys))


def legal(game, state):
    if hasattr(game, "get_legal_moves"):
        return game.get_legal_moves(state)
    return {agent: jnp.ones(game.action_space(agent).n) for agent in game.agents}


def test_every_number_is_jaxmarls(played):
    id, env, game, (first, first_seen, (now, seen, reward, done, actions)) = played
    horizon = CASES[id][1]
    assert horizon is None or env.spec.horizon == horizon
    over = np.asarray(done)
    alive = np.cumsum(over, axis=1) - over == 0  # up to the step that ends the episode
    assert over.any(axis=1).all() and alive.sum() > EPISODES
    np.testing.assert_array_equal(now.last[alive], over[alive])
    each = np.stack([reward[agent] for agent in game.agents], axis=-1)
    shared = id in ("hanabi", "overcooked")
    team = each[..., 0] if shared else each.sum(axis=-1)
    np.testing.assert_allclose(now.reward[alive], team[alive], rtol=1e-6)
    for mine, original in ((first, first_seen), (now, seen)):
        flat = [np.asarray(original[a]) for a in game.agents]
        lead = mine.reward.ndim
        flat = [np.reshape(leaf, (*leaf.shape[:lead], -1)).astype(np.float32) for leaf in flat]
        for i, leaf in enumerate(flat):
            size = leaf.shape[-1]
            np.testing.assert_array_equal(mine.obs[..., i, :size], leaf)
            assert not np.any(mine.obs[..., i, size:])
        np.testing.assert_array_equal(mine.state, np.concatenate(flat, axis=-1))
    for i, agent in enumerate(game.agents):
        n = game.action_space(agent).n
        np.testing.assert_array_equal(
            now.avail_actions[..., i, :n], np.asarray(actions[agent]) == 1
        )
        assert not np.any(now.avail_actions[..., i, n:])


def test_a_time_limit_truncates_and_the_end_of_the_game_terminates(played):
    id, env, _, (_, _, (now, _, _, done, _)) = played
    end = np.argmax(done, axis=1)
    rows = np.arange(EPISODES)
    terminated = np.asarray(now.terminated)[rows, end]
    assert (terminated ^ np.asarray(now.truncated)[rows, end]).all()
    if id.startswith("MPE") or id == "overcooked":
        assert not terminated.any() and (end == env.spec.horizon - 1).all()
    if id == "hanabi":
        assert terminated.all()
    if id == "switch_riddle":  # whoever is in the room tells
        paid = np.asarray(now.reward)[rows, end] != 0
        np.testing.assert_array_equal(terminated, paid)


def test_smax_by_its_name_is_the_one_that_test_smax_holds_to_jaxmarl():
    env = jaxmarl("HeuristicEnemySMAX", {"scenario": "2s3z", "max_steps": 14})
    assert env.spec == smax("2s3z").spec._replace(horizon=15)
    key = jax.random.key(5)
    kinds = [jax.eval_shape(one.reset, key) for one in (env, smax("2s3z"))]
    assert jax.tree.structure(kinds[0]) == jax.tree.structure(kinds[1])


def test_each_of_jaxmarls_names_is_played_or_refused():
    (folder,) = importlib.util.find_spec("jaxmarl").submodule_search_locations
    tree = ast.parse((Path(folder) / "registration.py").read_text())
    lists = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    assert {*ast.literal_eval(lists[-1])} == {*COOPERATIVE} | {*REFUSED}
    assert not {*COOPERATIVE} & {*REFUSED}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["env.id=SMAX"], "env.id=SMAX is refused: its agents play against each other; "
         "HeuristicEnemySMAX has the scripted enemy"),
        (["env.id=coin_game"], "env.id=coin_game is refused: each agent has a reward of its own"),
        (["env.id=ant_4x2"], "env.id=ant_4x2 is refused: its actions are continuous"),
        (["env.id=overcoked"], "did you mean 'overcooked'?"),
    ],
)  # fmt: skip
def test_what_is_not_cooperative_and_discrete_is_refused_by_the_command_line(words, line):
    with pytest.raises(ConfigError) as raised:
        compose(["env=jaxmarl", *words])
    assert line in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("id", "args", "line"),
    [
        ("MPE_simple_spread_v3", {"num_agent": 3}, "env.args.num_agent=3 is refused: JaxMARL's "
         "SimpleSpreadMPE takes num_agents, "),
        ("MPE_simple_spread_v3", {"action_type": "Continuous"},
         "actions of agent_0 are Box, must be Discrete"),
        ("switch_riddle", {"num_agents": 2}, "it raises AssertionError: The minimum number of"),
        ("overcooked", {"layout": "cramped_rom"}, "must be one of cramped_room, "),
        ("HeuristicEnemySMAX", {"scenario": "4m"}, "no SMAX scenario is called '4m'"),
    ],
)  # fmt: skip
def test_arguments_that_jaxmarl_does_not_take_are_refused(id, args, line):
    with pytest.raises(ConfigError, match="refused") as raised:
        jaxmarl(id, args)
    assert line in str(raised.value) and "\n" not in str(raised.value)


def test_a_team_reward_of_ones_own():
    mean, total = (jaxmarl("MPE_simple_spread_v3", {}, reward) for reward in ("mean", "sum"))

    def paid(env):
        state, _ = env.reset(jax.random.key(1))
        return env.step(jax.random.key(2), state, jnp.zeros(3, jnp.int32))[1].reward

    both = jax.jit(lambda: (paid(mean), paid(total)))()
    np.testing.assert_allclose(3 * both[0], both[1], rtol=1e-6)
