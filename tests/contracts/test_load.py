"""``knife_jax.load``: the policy of a stored run plays its evaluation again, in every environment.

The runs are made without training: their networks are random, and evaluated by the functions that
end a run.
"""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

import knife_jax
from knife_jax.builders.envs import make_tasks
from knife_jax.builders.program import build
from knife_jax.config.environments import ENVS
from knife_jax.config.mixers import MIXERS
from knife_jax.envs.sequences import representable_matrices
from knife_jax.host.evaluate import episode_keys, greedy_records, play
from knife_jax.records import directory, params
from knife_jax.records.compare import config_hash, hash_of
from knife_jax.records.lines import FINAL

pytestmark = pytest.mark.xdist_group("load")  # two share a run
STEPS = 1234
SMALL = (
    "env.n_envs=4", "algo.hidden=8", "algo.embed=4", "algo.hyper_hidden=8", "algo.window=4",
    "algo.batch_size=4", "algo.buffer_size=8", "env_steps=5000", "evaluation.episodes=5",
    "seed=3", "num_seeds=2", "compile_cache=false",
)  # fmt: skip

IN = {
    "mpe_predator_prey": ("algo=qmix_knife",),
    "matrix_game": ("algo=qplex", "env.scenario=two_step", "plasticity=knife_fresh"),
    "custom": ("algo=wqmix", "env.target=experiments.examples.own_environment:make"),
    "jaxmarl": ("algo=dmix", "env.id=MPE_simple_spread_v3"),
    "seq_matrix": ("algo=resq", "env.n_tasks=3", "env.drawing=per_seed"),
    "seq_grid_predator_prey": ("algo=rmix", "env.n_tasks=2"),
    "seq_mpe_predator_prey": ("algo=iql_wider", "env.n_tasks=2"),
    "seq_smax": ("algo=vdn", "preset=pqn", "env.n_tasks=2"),
}
"""an algorithm or more for each environment, or for sequences of its tasks, so that all of both
are met"""


def drawn(program, config):
    """A training state of random networks, with random grafts in use; nothing is compiled."""
    state, random = program.shapes, np.random.default_rng(5)

    def leaf(shape):
        if np.issubdtype(shape.dtype, np.integer):
            return random.integers(0, 2, shape.shape).astype(shape.dtype)
        return random.normal(size=shape.shape).astype(shape.dtype) / 2

    online = jax.tree.map(leaf, program.params(state))
    tasks = make_tasks(config.env, config.seeds).own
    return state.replace(patient=state.patient._replace(online=online), tasks=tasks)


def begin(folder, config):
    """A run directory of random networks; the program and the state that has them."""
    program = build(config)
    state = drawn(program, config)
    directory.begin(folder, config)
    about = {"env_steps": STEPS, "config_hash": config_hash(config)}
    params.write_params(folder / "params.safetensors", program.params(state), about)
    return program, state


def store(folder, config):
    """A run directory of random networks; the records with which such a run ends, and these."""
    (program, state), seeds = begin(folder, config), config.seeds
    if program.games is not None:
        program.games.open(config, None, training=False)
    played = play(program, state, FINAL, seeds, STEPS)
    records = greedy_records(program, FINAL, seeds, played, {"env_steps": STEPS})
    if program.games is not None:
        program.games.close()
    return records, program.params(state)


def test_every_environment_and_algorithm_is_met():
    played = {name for name in ENVS if {name, f"seq_{name}"} & {*IN}}
    assert played == {name for name in ENVS if "smacv2" not in name}
    words = " ".join(word for words in IN.values() for word in words)
    assert {*MIXERS} <= {word.split("_")[0] for word in words.replace("algo=", "").split()}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """The stored run of an environment: its records, networks, folder, and its policy, which has
    played the evaluation again."""

    @cache
    def load(env):
        folder = tmp_path_factory.mktemp(env)
        stored = store(folder, knife_jax.compose(f"env={env}", *SMALL, *IN[env]))
        policy = knife_jax.load(folder)
        return *stored, folder, policy, policy.evaluate()

    return load


@pytest.mark.parametrize("env", IN)
def test_the_stored_evaluation_is_played_again_to_the_bit(env, loaded):
    expected, variables, _, policy, found = loaded(env)
    assert found.records == expected and len(expected) == 2 * policy.player.tasks.n
    assert jax.tree.structure(policy.variables) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, policy.variables, variables)
    for task, episodes in enumerate(found.episodes):
        of_task = [r for r in expected if r["task"] == task]
        means = [np.float32(r["return"]) for r in of_task]
        np.testing.assert_array_equal(episodes.returns.mean(axis=1), means)
    json.dumps(found.returns)  # plain numbers


def test_the_policy_of_a_seed_with_its_own_tasks_plays_in_these(loaded):
    _, _, _, policy, found = loaded("seq_matrix")
    with pytest.raises(ValueError, match="each seed has tasks of its own: take the policy of one"):
        policy.env(5)
    for s, seed in enumerate(policy.seeds):
        game = representable_matrices(5, 3, (0, seed)).params.payoff[2, 0]
        state, _ = policy[s].env(1, task=2).reset(jax.random.key(0))
        _, now = policy[s].env(1, task=2).step(state, jnp.array([[3, 4]]))
        assert float(now.reward[0]) == game[3, 4]
        np.testing.assert_array_equal(
            policy[s].evaluate().returns, np.array(found.returns)[s : s + 1]
        )


def test_acting_by_hand_gets_the_returns_of_the_evaluation(loaded):
    """Seed by seed and for all seeds at once, inside jit, without the evaluator."""
    _, _, folder, policy, found = loaded("matrix_game")
    expected = found.episodes[0].returns
    env, keys = policy.env(5), episode_keys(FINAL, [3, 4], STEPS)
    act, total = jax.jit(knife_jax.Policy.act), 0.0
    reset, step = jax.jit(jax.vmap(env.reset)), jax.jit(jax.vmap(env.step))
    state, now = reset(keys)
    carry, one = policy.initial_carry(5), policy[1].initial_carry(5)
    for _ in range(policy.spec.horizon):
        own, one = act(policy[1], now.obs[1], now.avail_actions[1], one)
        actions, carry = act(policy, now.obs, now.avail_actions, carry)
        np.testing.assert_array_equal(own, actions[1])
        state, now = step(state, actions)
        total += now.reward
    np.testing.assert_array_equal(total, expected)
    masked = np.asarray(now.avail_actions).copy()
    masked[..., 0] = False
    values, again = policy.q_values(now.obs, masked, carry)
    assert np.isneginf(values[..., 0]).all() and (np.asarray(again.last_action) == 1).all()
    for wrong, text in (
        ({"checkpoint": "best"}, "checkpoint best is refused: must be newest, as .* holds no"),
        ({"seed": 5}, "seed=5 is refused: .* has 3, 4"),
    ):
        with pytest.raises(knife_jax.RunError, match=text):
            knife_jax.load(folder, **wrong)
    with pytest.raises(ValueError, match=r"obs is \[5, 2, \d\]: must be \[2, 2, \d\] or"):
        policy.act(now.obs[0], now.avail_actions[0], carry)


SHAPES = """
import sys
import jax.numpy as jnp
import numpy as np
import knife_jax

policy = knife_jax.load(sys.argv[1])
print(repr(policy), repr(policy[-1]), [one.seeds for one in policy])
one = policy[0]
n, a, o = one.spec.n_agents, one.spec.n_actions, one.spec.obs_size
obs, avail, carry = np.ones((5, n, o)), np.ones((5, n, a), bool), one.initial_carry(5)
alone = one.activations(obs[0], one.initial_carry())
for layer, values in one.activations(obs[:1], one.initial_carry(1)).items():
    np.testing.assert_allclose(values, alone[layer], rtol=1e-5)

def line(function, *args, **further):
    try:
        print("accepted:", function(*args, **further))
    except (ValueError, TypeError, LookupError) as error:
        print(f"{type(error).__name__}: {error}")

line(one.act, obs, avail, one.initial_carry(1))
line(one.act, obs[0], avail[0], one.initial_carry(1))
line(one.q_values, obs, avail, carry._replace(last_action=carry.last_action[1:]))
line(one.act, obs, avail[1:], carry)
line(one.act, obs, avail, carry, np.ones(4, bool))
line(one.act, obs, avail, carry, True)
line(one.act, obs, avail, carry.memory)
line(one.act, obs.tolist(), avail, carry)
line(policy.act, obs, avail, policy.initial_carry(5))
line(one.activations, obs, one.initial_carry(4))
line(policy.activations, np.stack([obs, obs]), policy.initial_carry(5))
line(policy.__getitem__, 2)
line(policy.__getitem__, slice(0, 1))
for n_envs in (0, 1.5, "3"):
    line(policy.initial_carry, n_envs)
line(policy.env, 0)
line(policy.evaluate, 0)
line(policy.evaluate, seed=-1)
"""
REFUSED = """
ValueError: carry.memory is [1, 2, 8]: must be [5, 2, 8], as obs is [5, 2, {o}]
ValueError: carry.memory is [1, 2, 8]: must be [2, 8], as obs is [2, {o}]
ValueError: carry.last_action is [4, 2]: must be [5, 2], as obs is [5, 2, {o}]
ValueError: avail_actions is [4, 2, 2]: must be [5, 2, 2], as obs is [5, 2, {o}]
ValueError: first is [4]: must be [5], as obs is [5, 2, {o}]
ValueError: first is of type bool: must be an array
ValueError: carry is of type ArrayImpl: must be what initial_carry or act returned
ValueError: obs is of type list: must be an array
ValueError: obs is [5, 2, {o}]: must be [2, 2, {o}] or [2, E, 2, {o}]
ValueError: carry.memory is [4, 2, 8]: must be [5, 2, 8], as obs is [5, 2, {o}]
ValueError: activations are of one seed: must be those of policy[0], for example
IndexError: policy[2] is refused: must be a whole number below 2, the place of one of the seeds 3, 4
TypeError: policy[slice(0, 1, None)] is refused: must be a whole number below 2, the place of one \
of the seeds 3, 4
ConfigError: n_envs=0 is refused: must be a whole number, at least 1, at most 2147483647
ConfigError: n_envs=1.5 is refused: must be a whole number, at least 1, at most 2147483647
ConfigError: n_envs='3' is refused: must be a whole number, at least 1, at most 2147483647
ConfigError: n_envs=0 is refused: must be a whole number, at least 1, at most 2147483647
ConfigError: episodes=0 is refused: must be a whole number, at least 1, at most 2147483647
ConfigError: seed=-1 is refused: must be a whole number, at least 0, at most 2147483647
"""


def test_what_does_not_fit_a_policy_is_one_line(forks, loaded):
    """As users call it: in a process where no types are checked but by the policy itself."""
    _, _, folder, policy, _ = loaded("matrix_game")
    done = forks.run(["python", "-c", SHAPES, str(folder)])
    assert done.returncode == 0, done.stderr
    shown, *lines = done.stdout.splitlines()
    of = "Policy(matrix_game two_step, qplex"
    assert shown == (
        f"{of}, seeds 3-4, 1,234 env steps) {of}, seed 4, 1,234 env steps) [(3,), (4,)]"
    )
    assert (
        lines
        == REFUSED.replace("{o}", str(policy.spec.obs_size)).replace("\\\n", "").split("\n")[1:-1]
    )


def test_networks_of_a_configuration_without_a_newer_field_are_loaded(tmp_path):
    config = knife_jax.compose("env=matrix_game", *SMALL)
    program, state = begin(tmp_path, config)
    path = tmp_path / "config.yaml"
    older = yaml.safe_load(path.read_text())
    del older["algo"]["reward_scale"]
    path.write_text(yaml.safe_dump(older))
    with pytest.raises(knife_jax.RunError, match="safetensors is not that of this config"):
        knife_jax.load(tmp_path)
    about = {"env_steps": STEPS, "config_hash": hash_of(older)}
    params.write_params(tmp_path / "params.safetensors", program.params(state), about)
    assert knife_jax.load(tmp_path).seeds == tuple(config.seeds)


def test_a_run_that_is_trained_further_has_no_recording_of_its_old_policy(tmp_path):
    config = knife_jax.compose("env=matrix_game", *SMALL)
    (tmp_path / "recording.html").write_text("of the old policy")
    directory.begin(tmp_path, config, b"{}")
    assert not (tmp_path / "recording.html").exists()
