"""The trainer of a config: networks, learner, method, schedules and sizes."""

from __future__ import annotations

import math

from knife_jax.builders.budget import make_budget
from knife_jax.builders.envs import make_sequence
from knife_jax.builders.networks import make_factorisation, make_networks, widened
from knife_jax.builders.optimiser import learning_rate, make_optimiser
from knife_jax.builders.plasticity import make_plasticity
from knife_jax.clock import every_env_steps, rounds_of
from knife_jax.config.run import Config
from knife_jax.envs.base import VecEnv
from knife_jax.envs.tasks import Tasks
from knife_jax.nets.wiring import relu_groups
from knife_jax.parallel.shards import WHOLE, Shards
from knife_jax.training.chunk import MAX_ROUNDS
from knife_jax.training.exploration import linear
from knife_jax.training.learner import make_learner
from knife_jax.training.targets import make_returns
from knife_jax.training.task_switch import per_task
from knife_jax.training.trainer import Trainer


def make_trainer(
    config: Config, env: VecEnv, tasks: Tasks | None = None, shards: Shards = WHOLE
) -> Trainer:
    """Network, learner, method and sizes of a config, in the first of its tasks or the only one.

    The environments and, in the trainer, batch and capacity are those of one of the shards.
    """
    config = widened(config, env.spec)
    algo, plasticity = config.algo, config.plasticity
    made = make_factorisation(config, env.spec)
    networks = make_networks(config, env.spec, made)
    wiring = networks.wiring()
    episodes_only = algo.data == "episodes"
    length = env.spec.horizon if episodes_only else algo.window
    n_envs = env.n_envs * shards.n
    budget = make_budget(config, length * n_envs)
    method = make_plasticity(plasticity, wiring, budget.round_steps)
    optimiser = method.extras.optimiser(make_optimiser(algo))
    learner = make_learner(
        env.spec, networks, relu_groups(wiring), optimiser,
        gamma=algo.gamma, reward_scale=algo.reward_scale,
        returns=make_returns(algo.returns, lam=algo.td_lambda, n=algo.n_steps),
        double_q=algo.double_q, target_period=algo.target_period, tau=algo.tau, error=made.error,
        bootstrap=made.bootstrap, needs=method.extras.needs, shards=shards,
    )  # fmt: skip
    epsilon = linear(algo.epsilon_start, algo.epsilon_end, algo.epsilon_steps, budget.round_steps)
    sequence, switches = None, config.env.sequence()
    if tasks is not None and switches is not None:
        sequence = make_sequence(switches, tasks, env.n_envs, budget.round_steps)
        if switches.restart_epsilon:
            epsilon = per_task(epsilon)
    return Trainer(
        env=env,
        learner=learner,
        plasticity=method,
        epsilon=epsilon,
        learning_rate=learning_rate(algo),
        log=every_env_steps(config.log_every, budget.round_steps),
        most_rounds=min(rounds_of(config.log_every, budget.round_steps), budget.rounds, MAX_ROUNDS),
        slots=plasticity.networks().slots,
        stagnant_threshold=plasticity.stagnation().threshold,
        episodes_only=episodes_only,
        length=length,
        updates=algo.updates_per_round,
        waits=budget.waits,
        batch=algo.batch_size // shards.n,
        capacity=math.ceil(algo.stored(n_envs) / n_envs) * env.n_envs,
        in_epochs=algo.data == "rollouts",
        memory=algo.memory,
        sequence=sequence,
        shards=shards,
    )
