"""The compiled program: one trace, real branches, donated state, seeds that do not mix."""

import re
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ladder.environments import ENDLESS, MEMORY, OBSERVED
from tiny import KNIFE, seed_of, tiny_config

from knife_jax.builders.program import build_in
from knife_jax.config.run import DebugConfig
from knife_jax.envs.base import Env, EnvSpec, TimeStep, vectorise
from knife_jax.host.evaluate import episode_keys
from knife_jax.records.arrays import to_arrays
from knife_jax.training.replay import unpack

pytestmark = [
    pytest.mark.xdist_group("chunk"),  # they share programs
    pytest.mark.usefixtures("networks_at_once"),
]

CHUNKS = 4
SEEDS = (0, 1, 2, 3)


@cache
def program_of(config, rung=MEMORY):
    return build_in(partial(vectorise, rung.env), config)


@cache
def knife_run():
    """Four seeds with KNIFE: the program, its end state and all metrics."""
    program = program_of(tiny_config(mixer="vdn", seeds=4, plasticity=KNIFE))
    return program, *run(program, SEEDS)


def run(program, seeds, chunks=CHUNKS):
    state, clock, seen = program.init(seeds), program.clock(), []
    for _ in range(chunks):
        state, clock, metrics = program.chunk(state, clock)
        seen.append(jax.tree.map(np.asarray, metrics))
    return state, clock, seen


def fired(seen, name):
    return np.concatenate([m["surgery"][name][m["surgery"]["fired"]] for m in seen])


def check_clock(clock, length):
    steps = 7 * length
    rounds = -(-CHUNKS * 500 // steps)
    idle = -(-105 // steps) - 1
    assert int(clock.rounds) == rounds
    assert int(clock.updates) == 3 * (rounds - idle)


def test_one_trace_and_the_clock():
    program, _, clock, _ = knife_run()
    assert program.chunk._cache_size() == 1
    check_clock(clock, length=5)


def test_the_state_is_donated():
    program = knife_run()[0]
    state = program.init(SEEDS)
    program.chunk(state, program.clock())
    big = [state.replay.obs, state.replay.state, state.patient.online["params"]["agent"]["head"]]
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(big))


def primitives(jaxpr, inside_cond=False):
    for eqn in jaxpr.eqns:
        branch = inside_cond or eqn.primitive.name == "cond"
        yield eqn.primitive.name, inside_cond
        for value in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from primitives(inner, branch)


def test_surgery_stays_a_branch_under_the_seed_vmap():
    """Only surgery looks for a largest change. A batched condition would have become a select: no
    branch at all."""
    program = knife_run()[0]
    jaxpr = program.chunk.trace(program.init(SEEDS), program.clock()).jaxpr
    compared = [inside for name, inside in primitives(jaxpr.jaxpr) if name == "reduce_max"]
    assert compared and all(compared)


def test_knife_operates_on_time_and_changes_nothing():
    _, _, _, seen = knife_run()
    first = {k: v[0] for k, v in seen[0]["surgery"].items()}
    assert np.all(fired(seen, "churn_max") == 0.0)
    units = np.stack([m["surgery"]["units_operated"].sum(1) for m in seen]).sum(0)
    assert np.all(units > 0)
    # due every 300 env steps, at the first update after the boundary; a round is 35 steps
    assert list(first["rounds"][first["fired"]]) == [9]
    assert sum(int(m["surgery"]["fired"][0].sum()) for m in seen) == 58 * 35 // 300
    used = fired(
        [{"surgery": {k: v[0] for k, v in m["surgery"].items()}} for m in seen], "slots_used"
    )
    assert np.all(np.diff(used) >= 0)


def test_same_seed_same_bits():
    program, state, _, _ = knife_run()
    again, _, _ = run(program, SEEDS)
    assert to_bytes(state) == to_bytes(again)


def to_bytes(state, *seeds):
    """Every leaf as it lies in memory, of all seeds or of some."""
    rows = list(seeds) or slice(None)
    return {name: leaf[rows].tobytes() for name, leaf in to_arrays(state).items()}


def poisoned(state, seed):
    """The same with a reward in the seed's replay that is not a number."""
    reward = state.replay.reward.at[seed].set(jnp.nan)
    return state.replace(replay=state.replay.replace(reward=reward))


def test_a_seed_that_diverges_is_frozen_and_the_others_keep_their_bits():
    program, calm, _, _ = knife_run()
    state, clock = program.init(SEEDS), program.clock()
    state, clock, _ = program.chunk(state, clock)
    before, seen = to_bytes(state.patient, 1), []
    state = poisoned(state, 1)
    for _ in range(CHUNKS - 1):
        state, clock, metrics = program.chunk(state, clock)
        state = program.freeze(state, metrics["healthy"])
        seen.append(list(metrics["train"]["finite"]))
    assert seen == [[True, False, True, True]] * (CHUNKS - 1)
    assert to_bytes(state, 0, 2, 3) == to_bytes(calm, 0, 2, 3)
    assert to_bytes(state.patient, 1) == before
    assert program.chunk._cache_size() == 1


def test_the_first_nan_is_named_and_healthy_training_has_none():
    """Without surgery there are no grafts, and stagnation is still measured."""
    config = tiny_config(mixer="vdn", seeds=2)
    program = program_of(replace(config, debug=DebugConfig(nans=True)), ENDLESS)
    state, clock = program.init((0, 1)), program.clock()
    assert not jax.tree.leaves(state.patient.online["grafts"])
    state, clock, metrics = program.chunk(state, clock)
    assert metrics["nan"].get() is None
    assert not np.any(metrics["surgery"]["fired"])
    train = jax.tree.map(np.asarray, metrics["train"])
    assert np.all((train["stagnant_pct"] >= 0) & (train["stagnant_pct"] <= 100))
    assert np.all(train["grafted_units"] == 0)
    # and the episodes are whole ones
    np.testing.assert_allclose(train["length"], ENDLESS.env.spec.horizon)
    np.testing.assert_allclose(train["return"], ENDLESS.optimal_return)
    assert np.all(np.isnan(train["win_rate"]))
    _, _, metrics = program.chunk(poisoned(state, 1), clock)
    assert re.search(r"mapped index 1.*nan generated by primitive: \w+", metrics["nan"].get(), re.S)


def test_seeds_do_not_mix():
    """Seed 1 is the same in another place beside others, up to rounding."""
    program, companions = knife_run()[0], (9, 8, 1, 7)
    one, _, theirs = run(program, companions, chunks=1)
    other, _, ours = run(program, SEEDS, chunks=1)
    np.testing.assert_array_equal(one.replay.action[2], other.replay.action[1])
    for mine, same in zip(*map(jax.tree.leaves, (one.patient, other.patient)), strict=True):
        np.testing.assert_allclose(np.asarray(mine)[2], np.asarray(same)[1], rtol=1e-3, atol=1e-4)
    assert theirs[0]["train"]["return"][2] == ours[0]["train"]["return"][1]
    assert len({*theirs[0]["train"]["loss"].tolist(), *ours[0]["train"]["loss"].tolist()}) >= 7


def test_each_seed_plays_episodes_of_its_own():
    """The return of an episode is the sign drawn at its start."""
    program = program_of(tiny_config(mixer="vdn", seeds=2), OBSERVED)
    state, played = program.init((3, 7)), {}
    for kind in ("eval", "final"):
        for seeds in ((3, 7), (7, 3)):
            keys = episode_keys(kind, seeds, moment=500)
            returns = np.asarray(program.evaluate(state, keys, 0).returns)
            for seed, signs in zip(seeds, returns.tolist(), strict=True):
                assert played.setdefault((kind, seed), signs) == signs
    assert len(set(map(tuple, played.values()))) == 4


def test_an_evaluation_that_was_compiled_ahead_is_not_compiled_again():
    program, compiled = program_of(tiny_config(mixer="vdn", seeds=2), OBSERVED), []

    def listen(event, _, **about):
        if "backend_compile" in event and about.get("fun_name") == "jit(at_once)":
            compiled.append(event)

    state, _ = program.place(program.init((3, 7)), program.clock())
    shapes, _ = program.place(program.shapes, jax.eval_shape(program.clock))
    keys = episode_keys("eval", (3, 7), moment=500)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        program.compile_evaluation(shapes, keys)
        assert len(compiled) == 1
        program.evaluate(state, keys, 0)
        assert len(compiled) == 1
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


LONG = 7


def coin() -> Env:
    """Half of the episodes are won after seven transitions, the others lost after one."""

    def row(time, won, ends):
        no, obs = jnp.zeros((), bool), jnp.ones((2, 1)) * time
        return TimeStep(obs, obs[:, 0], jnp.ones((2, 2), bool), 1.0 * (won & ends), ends, no,
                        time == 0, won & ends)  # fmt: skip

    def reset(key):
        state = jnp.zeros((), jnp.int32), jax.random.bernoulli(key)
        return state, row(*state, jnp.zeros((), bool))

    def step(key, state, action):
        time, won = state[0] + 1, state[1]
        return (time, won), row(time, won, time >= jnp.where(won, LONG, 1))

    return Env(EnvSpec("coin", 2, 2, 1, 2, LONG, True), reset, step)


def test_episodes_mode_keeps_and_counts_the_first_episode_of_each_start():
    """Counting all that end within the horizon would show a win rate of about .35 for the true .5,
    since the lost ones start again at once."""
    program = build_in(
        partial(vectorise, coin(), reset_period=1), tiny_config(mixer="vdn", data="episodes")
    )
    state, clock, seen = run(program, (0,))
    check_clock(clock, length=LONG)
    ring = unpack(seed_of(state.replay, 0))
    assert jnp.all(ring.first[0]) and jnp.all(ring.carry == 0) and jnp.all(ring.last_action == -1)
    assert ring.valid.shape[0] == LONG
    np.testing.assert_array_equal((ring.terminated & ring.valid).sum(0), 1)
    kept = np.asarray(ring.valid.sum(0))
    assert {*kept.tolist()} == {1, LONG}
    train = {name: np.concatenate([m["train"][name] for m in seen]) for name in seen[0]["train"]}
    assert train["episodes"].sum() == 7 * int(clock.rounds)
    rate = train["win_rate"]
    np.testing.assert_allclose(train["return"], rate, rtol=1e-6)
    np.testing.assert_allclose(train["length"], 1 + (LONG - 1) * rate, rtol=1e-6)
    assert abs(rate.mean() - 0.5) < 0.08
