"""The two contenders, each compiled, trained past the filling of its replay, ready to be timed."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import checkout
import jax
import peer
import peer_pqn
from chunks import endless
from settings import MPE_SCENARIOS, PqnSettings, Settings

from knife_jax.builders.program import build
from knife_jax.config import environments
from knife_jax.config import run as config
from knife_jax.config.factorisation import ALGOS

Either = Settings | PqnSettings


class Side(NamedTuple):
    """One contender, compiled and past the filling of its replay."""

    label: str
    advance: Callable[[], int]
    """trains for the given rounds, waits for the result, returns the transitions made"""
    sizes: dict[str, int]
    devices: int


def jaxmarl_env(scenario: str) -> Any:
    """The peer's environment, in its log wrapper."""
    from jaxmarl import make
    from jaxmarl.environments.smax import map_name_to_scenario
    from jaxmarl.wrappers.baselines import MPELogWrapper, SMAXLogWrapper

    if scenario in MPE_SCENARIOS:
        n = MPE_SCENARIOS[scenario]
        return MPELogWrapper(make("MPE_simple_spread_v3", num_agents=n, num_landmarks=n))
    rules = {"see_enemy_actions": True, "walls_cause_death": True, "attack_mode": "closest"}
    battle = map_name_to_scenario(scenario)
    return SMAXLogWrapper(make("HeuristicEnemySMAX", scenario=battle, **rules))


def peer_program(round_: Callable[[Any], Any], rounds: int) -> Any:
    """JaxMARL's loop as it runs it: one long jitted scan, vmapped over seeds (``one_seed``)."""

    def train(state):
        return jax.lax.scan(lambda s, _: (round_(s), None), state, None, rounds)[0]

    def seeds(state):
        axes = jax.tree.map(lambda leaf: None if leaf.ndim == 0 else 0, state)
        return jax.vmap(train, in_axes=(axes,), out_axes=axes)(state)

    return jax.jit(seeds, donate_argnums=0)


def one_seed(state: Any) -> Any:
    """A state of its loop with an axis for one seed; what is one number for all seeds (counters)
    stays so, as in its own vmapped run."""
    return jax.tree.map(lambda leaf: leaf if leaf.ndim == 0 else leaf[None], state)


def peer_side(scenario: str, settings: Either, rounds: int, root: Path | None) -> Side:
    """Its re-statement, or the script of a checkout, one seed of it."""
    env = jaxmarl_env(scenario)
    if root and isinstance(settings, Settings):
        theirs = checkout.load(root, env, settings)
        label = f"jaxmarl checkout {theirs.commit}"
        print(f"peer: {label}, {theirs.note}")
    elif isinstance(settings, PqnSettings):
        theirs, label = peer_pqn.build(env, settings), "re-statement"
        print("peer: restatement of JaxMARL's pqn_vdn_rnn (peer_pqn.py)")
    else:
        theirs, label = peer.build(env, settings), "re-statement"
        print("peer: restatement of JaxMARL's qmix_rnn (peer.py)")
    state = one_seed(theirs.init(jax.random.PRNGKey(0)))
    run = _compiled("peer", peer_program(theirs.round, rounds), state)
    cell = [state]

    def advance() -> int:
        cell[0] = jax.block_until_ready(run(cell[0]))
        return rounds * settings.steps_per_round

    for _ in range(math.ceil(settings.waits / rounds) + 1):
        advance()
    return Side(label, advance, peer.sizes(env, settings.n_envs), 1)


def our_side(scenario: str, settings: Either, rounds: int, devices: int | None) -> Side:
    """This project's chunk, of as many rounds; exits if it learns less often than the peer."""
    program = build(dataclasses.replace(our_config(scenario, settings, rounds), devices=devices))
    state, clock = program.place(program.init([0]), endless(program))
    run = _compiled("ours", program.chunk, state, clock)
    cell = [state, clock]

    def advance() -> int:
        before = cell[1]
        *cell[:], metrics = jax.block_until_ready(run(*cell))
        rows = (int(cell[1].rounds) - int(before.rounds)) * program.round_steps
        # the step after the last of an episode opens the next one: no transition
        return rows - int(metrics["train"]["episodes"].sum())

    for _ in range(math.ceil(settings.waits / rounds)):
        advance()
    before = int(cell[1].updates)
    advance()
    made, expected = int(cell[1].updates) - before, rounds * settings.learner_steps
    if made != expected:
        sys.exit(f"ours made {made} learner steps where the peer makes {expected}")
    spec = program.spec
    sizes = {
        "agents": spec.n_agents,
        "actions": spec.n_actions,
        "obs": spec.obs_size,
        "state": spec.state_size,
    }
    return Side("knife_jax", advance, sizes, math.prod(program.mesh.values()))


def our_config(scenario: str, s: Either, rounds: int) -> config.Config:
    """Our run with these settings, in chunks of so many rounds."""
    if scenario in MPE_SCENARIOS:
        n_predators = MPE_SCENARIOS[scenario]
        env = environments.PredatorPreyConfig(n_predators=n_predators, n_envs=s.n_envs)
    else:
        env = environments.SmaxConfig(scenario=scenario, n_envs=s.n_envs)
    budget = s.total_rounds * s.steps_per_round
    common: dict[str, Any] = dict(
        hidden=s.hidden,
        init="orthogonal",
        agent_id=True,
        last_action=False,
        optimiser="radam",
        lr=s.lr,
        eps=1e-8,
        grad_clip=s.grad_clip,
        gamma=s.gamma,
        window=s.window,
        updates_per_round=s.learner_steps,
        learning_starts=s.waits * s.steps_per_round,
        epsilon_steps=round(s.epsilon_share * budget),
    )
    if isinstance(s, PqnSettings):
        algo = config.AlgoConfig(
            name="vdn",
            mixer="vdn",
            encoder_layers=s.layers,
            layer_norm=True,
            lr_decay=True,
            td_lambda=s.lam,
            data="rollouts",
            memory_window=s.memory,
            batch_size=s.n_envs // s.minibatches,
            buffer_size=s.n_envs,
            target_period=1,
            **common,
        )
    else:
        algo = ALGOS["qmix"](
            name="qmix",
            embed=s.embed,
            hyper_hidden=s.hyper_hidden,
            hyper_init_scale=s.mixer_init_scale,
            td_lambda=0.0,
            batch_size=s.batch,
            buffer_size=s.buffer_windows,
            target_period=s.target_period * s.learner_steps,
            **common,
        )
    return config.Config(
        env_steps=budget,
        log_every=rounds * s.steps_per_round,
        env=env,
        algo=algo,
        evaluation=config.EvaluationConfig(every=budget),
    )


def _compiled(name: str, function: Any, *args: Any) -> Any:
    start = time.perf_counter()
    compiled = function.lower(*args).compile()
    print(f"{name}: compiled in {time.perf_counter() - start:.1f} s", flush=True)
    return compiled
