"""What the scripts of experiments/bench compute, and the two sides of their comparison, unrun."""

import dataclasses
import re
import sys
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax.envs import matrix_games
from knife_jax.envs.base import VecState, vectorise
from knife_jax.envs.smax.vec_env import Battles
from knife_jax.training.replay import unpack
from knife_jax.training.targets import Transitions, td_lambda_targets

sys.path.append(str(Path(__file__).parents[2] / "experiments" / "bench"))

import accelerator
import peer
import peer_pqn
import pieces
import scaling
import work
from chunks import n_bytes
from kernels import instructions
from parts import BACKWARD, table
from settings import MPE, SMAX, PqnSettings
from sides import jaxmarl_env, one_seed, our_config
from timing import Spent, median, timer

from knife_jax.builders.program import build

pytestmark = pytest.mark.xdist_group("bench")  # one worker imports all of JaxMARL

N, H, BATCH, T = 3, 13, 5, 7
SIDES = {"3m": SMAX, "mpe3": MPE}


@cache
def both(scenario):
    """The settings, our program, and the shapes of both sides' training states."""
    settings = dataclasses.replace(SIDES[scenario], buffer_windows=64)
    program = build(dataclasses.replace(our_config(scenario, settings, rounds=2), devices=1))
    theirs = peer.build(jaxmarl_env(scenario), settings)
    ours = program.shapes
    state = jax.eval_shape(lambda: one_seed(theirs.init(jax.random.PRNGKey(0))))
    return settings, program, ours, state


@pytest.mark.parametrize("scenario", SIDES)
def test_both_sides_get_the_same_work(scenario):
    settings, program, ours, _ = both(scenario)
    sizes = peer.sizes(jaxmarl_env(scenario), settings.n_envs)
    assert (program.spec.n_agents, program.spec.n_actions) == (sizes["agents"], sizes["actions"])
    t = pieces.trainer_of(our_config(scenario, settings, rounds=2))
    assert t.round_steps == settings.steps_per_round
    assert (t.updates, t.batch, t.capacity) == (settings.learner_steps, settings.batch, 64)
    assert t.length == settings.window
    assert ours.actor.carry.shape == (1, settings.n_envs, sizes["agents"], settings.hidden)


PQN = PqnSettings(
    n_envs=12, window=8, memory=3, hidden=H, epochs=2, minibatches=4, batch_norm=False
)


def test_both_sides_without_a_replay_get_the_same_work():
    t = pieces.trainer_of(our_config("3m", PQN, rounds=2))
    assert (t.updates, t.batch, t.capacity) == (PQN.learner_steps, 3, 12) == (8, 3, 12)
    assert t.round_steps == PQN.steps_per_round and (t.length, t.memory) == (8, 3)
    theirs = peer_pqn.build(jaxmarl_env("3m"), PQN)
    ours, state = (jax.eval_shape(f, jax.random.PRNGKey(0)) for f in (t.learner.init, theirs.init))
    assert state.recent.reward.shape == (PQN.memory + PQN.window, 1, 12)
    # without the scales of its normalisation, which ours lacks
    params = {name: leaf for name, leaf in state.variables["params"].items() if "Norm" not in name}
    assert sizes_of(params) == sizes_of(ours.online["params"]["agent"])


def sizes_of(params):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {
        kind: sum(leaf.size for path, leaf in leaves if kind in str(path[-1]))
        for kind in ("kernel", "bias")
    }


def test_goals_of_the_peer_without_a_replay_are_ours():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(T + 1, N, BATCH, 4)).astype(np.float32)
    avail_actions = rng.random((T + 1, N, BATCH, 4)) < 0.7
    avail_actions[..., 0] = True
    done, reward = rng.random((T + 1, 1, BATCH)) < 0.2, rng.normal(size=(T + 1, 1, BATCH))
    rows = peer_pqn.Rows(None, None, None, avail_actions, None, reward, done)
    best = np.where(avail_actions, values, -np.inf).max(axis=-1).sum(axis=1)
    every = np.ones((T, BATCH), bool)
    ours = Transitions(*map(jnp.asarray, (reward[:-1, 0], done[:-1, 0], every, best[1:])))
    np.testing.assert_allclose(
        peer_pqn.goals(values, rows, 0.9, 0.8),
        td_lambda_targets(ours, lambda: None, gamma=0.9, lam=0.8), rtol=1e-5, atol=1e-5,
    )  # fmt: skip


def test_bytes_of_the_peers_ring_by_hand():
    settings, _, _, state = both("3m")
    sizes = peer.sizes(jaxmarl_env("3m"), settings.n_envs)
    n, obs, actions = sizes["agents"], sizes["obs"] + sizes["agents"], sizes["actions"]
    # float observations, state and reward; whole-number actions; flags of a byte
    avail_actions = state.ring.avail_actions.dtype.itemsize
    row = n * (4 * obs + 1 + avail_actions * actions + 4) + 4 * sizes["state"] + 1 + 4
    assert n_bytes(state.ring) == 64 * settings.window * row


@pytest.mark.parametrize("scenario", SIDES)
def test_a_stored_transition_takes_less_than_the_peers(scenario):
    _, _, ours, theirs = both(scenario)
    assert n_bytes(ours.replay) < n_bytes(theirs.ring)


def repeated(n, w, x):
    return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), x), x, None, n)


def test_operations_by_hand():
    x, w = jnp.ones((3, 5)), jnp.ones((5, 5))
    once = 2 * 3 * 5 * 5
    run = partial(repeated, T)
    assert work.matmul_flops(run, w, x) == T * once
    # forward, and a product for each of the two gradients
    loss = jax.grad(lambda w, x: jnp.sum(run(w, x)[0]), argnums=(0, 1))
    assert work.matmul_flops(loss, w, x) == 3 * T * once
    assert work.matmul_flops(jax.vmap(run, in_axes=(None, 0)), w, jnp.ones((2, 3, 5))) == (
        2 * T * once
    )
    nested = lambda x: jax.lax.scan(lambda x, _: (run(w, x)[0], None), x, None, 11)[0]  # noqa: E731
    assert work.matmul_flops(nested, x) == 11 * T * once
    branch = lambda p, x: jax.lax.cond(p, lambda: x @ w, lambda: x)  # noqa: E731
    assert work.matmul_flops(branch, True, x) == 0
    endless = lambda x: jax.lax.while_loop(lambda x: x[0, 0] > 0, lambda x: x @ w, x)  # noqa: E731
    assert work.matmul_flops(lambda x: endless(x @ w), x) == once


def test_operations_of_the_learner_by_hand():
    """QMIX at the equal-work settings: encoder, GRU of six square products, head; hypernetworks."""
    settings, program, _, _ = both("3m")
    t = pieces.trainer_of(our_config("3m", settings, rounds=2))
    patient = jax.eval_shape(t.learner.init, jax.random.key(0))
    state = program.shapes
    ring = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), state.replay)
    batch = jax.eval_shape(unpack, ring)
    spec, s = program.spec, settings
    rows, n = 64 * (s.window + 1), spec.n_agents
    # an agent's one-hot id is a row of the kernel, which costs no product
    agent = spec.obs_size * s.hidden + 6 * s.hidden**2 + s.hidden * spec.n_actions
    # hidden layers of w1 and w2, that of v and b1, then what they make
    hyper = 2 * spec.state_size * (s.hyper_hidden + s.embed)
    hyper += s.hyper_hidden * (n * s.embed + s.embed) + s.embed
    mixed = n * s.embed + s.embed
    expected = 2 * (rows * n * agent + 64 * s.window * (hyper + mixed))
    counted = work.matmul_flops(t.learner.values, patient.online, batch)
    assert counted == expected


def test_every_pass_of_a_loop_counts_in_the_traffic():
    x = jnp.ones((31, 31))
    loop = lambda n: jax.jit(  # noqa: E731
        lambda x: jax.lax.scan(lambda c, _: (c @ x, None), x, None, n)[0]
    )
    assert work.loops_count_once()
    # a product reads two matrices and writes one
    assert work.traffic(loop(64), x) - work.traffic(loop(32), x) == 32 * 3 * x.nbytes


def test_never_ending_games_are_the_same_steps_without_restarts():
    table, _ = matrix_games.TABLES["mmdp"]
    env = vectorise(matrix_games.matrix_game(table, time_limit=2), 5)
    move = jnp.zeros((5, 2), jnp.int32)

    def three(env):
        state, _ = env.reset(jax.random.key(0))
        return jax.jit(lambda state: jax.lax.scan(env.step, state, jnp.stack([move] * 3))[1])(state)

    rows, endless = three(env), three(pieces.never_ending(env))
    for ours, others in zip(jax.tree.leaves(rows), jax.tree.leaves(endless), strict=True):
        np.testing.assert_array_equal(ours[:2], others[:2])
    np.testing.assert_array_equal(rows.first[2], [True] * 5)
    np.testing.assert_array_equal(endless.first[2], [False] * 5)
    np.testing.assert_array_equal(endless.reward[2], [1.0] * 5)


@pytest.mark.parametrize("kind", [VecState, Battles])
def test_what_restarts_is_found_in_the_environments_states(kind):
    fields = {field.name for field in dataclasses.fields(kind)}
    assert fields & set(pieces.ENDED)
    assert fields & set(pieces.SPARES)


def test_shares_of_a_round_by_hand():
    costs = {
        "environment": Spent(0.5, 1.0), "environment, never ending": Spent(0.4, 0.5),
        "learner forward": Spent(0.25, 0.25), "learner update": Spent(1.0, 2.0),
        "round": Spent(5.0, 10.0),
    }  # fmt: skip
    calls = {"environment": 2, "environment, never ending": 2, "learner forward": 3,
             "learner update": 3}  # fmt: skip
    found = table(costs, calls)
    assert found["parts"][BACKWARD] == pytest.approx(
        {"calls": 3, "ms": 750.0, "cpu_ms": 1750.0, "share": 0.45, "cpu_share": 0.525}
    )
    assert found["sum"] == pytest.approx({"share": 0.8, "cpu_share": 0.8})
    assert found["auto_reset_share_of_environment"] == pytest.approx({"ms": 0.2, "cpu_ms": 0.5})


def test_timings_are_of_one_call():
    n_calls = []
    spent = timer(lambda: n_calls.append(1), 0.0, calls=4)()
    assert len(n_calls) == 3  # compiling, looking how long it takes, timing
    assert 0 < spent.wall < 1
    assert median([Spent(1, 9), Spent(2, 7), Spent(3, 8)]) == Spent(2, 8)


def test_scaling_by_hand():
    points = {
        "1": {"s": 2.0, "cpu_s": 3.0, "env_steps": 100},
        "8": {"s": 8.0, "cpu_s": 15.0, "env_steps": 800},
        "32": {"error": "too large"},
    }
    assert scaling.relative(points, "1") == {
        "1": {"chunk": 1.0, "chunk_cpu": 1.0, "env_step": 1.0},
        "8": {"chunk": 4.0, "chunk_cpu": 5.0, "env_step": 0.5},
    }


def test_a_stage_that_fails_or_has_no_time_is_told():
    failed = accelerator.run(accelerator.Stage("no_such_script.py --quick", 20), left=20)
    assert failed["outcome"] == "exit 2"
    assert "no_such_script.py" in failed["output"][-1]
    late = accelerator.run(accelerator.Stage("parts.py", 20), left=0.5)
    assert late["outcome"] == "no time was left"


def test_a_record_to_be_read():
    stages = [
        {"command": "python a.py", "seconds": 3.0, "outcome": "done",
         "result": {"ratio": 1.25, "pairs": [1], "limits": {"round": {"GB": 2.0, "GFLOP": 1.0},
                                                            "peak": {"GB": 4.0}}}},
        {"command": "python b.py", "seconds": 1.0, "outcome": "exit 1", "output": ["MemoryError"]},
    ]  # fmt: skip
    text = accelerator.markdown(
        {"device": "cpu", "date": "2026-11-21", "command": "python c.py", "cpus": 2,
         "machine": "x86_64", "python": "3.11", "versions": {"jax": "0.10.2"}, "stages": stages}
    )  # fmt: skip
    assert "## `python a.py`\n\ndone, 3.0 s\n\nratio 1.25\n" in text
    assert "|  | GB | GFLOP |\n| --- | --- | --- |\n| round | 2 | 1 |\n| peak | 4 |  |" in text
    assert text.endswith("## `python b.py`\n\nexit 1, 1.0 s\n\n    MemoryError\n")


PROGRAM = """HloModule jit_f, is_scheduled=true

%fused_computation (p: f32[3]) -> f32[3] {
  %p = f32[3]{0} parameter(0)
  ROOT %exponential.1 = f32[3]{0} exponential(%p)
}

%wrapped_add_computation (p: s32[]) -> s32[] {
  ROOT %add.2 = s32[] add(%p, %p), metadata={op_name="jit(f)/fusion(x)"}
}

ENTRY %main.5 (x: f32[3]) -> (f32[3], s32[]) {
  %x = f32[3]{0} parameter(0)
  %fusion.1 = f32[3]{0} fusion(%x), kind=kLoop, calls=%fused_computation
  %wrapped_add.1 = s32[] fusion(%n), kind=kLoop, calls=%wrapped_add_computation
  ROOT %tuple.3 = (f32[3]{0}, /*index=1*/s32[]) tuple(%fusion.1, %wrapped_add.1)
}
"""


def test_kernels_are_counted_outside_of_what_they_are_made_of():
    assert instructions(PROGRAM) == {"parameter": 1, "fusion": 2, "tuple": 1}


def test_kernels_of_a_program_are_its_fusions():
    run = jax.jit(lambda x: jnp.sum(jnp.exp(x)) + jnp.cumsum(x)).lower(jnp.ones(7)).compile()
    text = run.as_text()
    assert instructions(text)["fusion"] == len(re.findall(r" fusion\(", text)) > 0
