"""Config becomes functions: here, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import checkify
from jaxtyping import Array, Int, PRNGKeyArray

from knife_jax.builders import memory
from knife_jax.builders.envs import make_sequence, make_tasks
from knife_jax.builders.networks import make_networks, widened
from knife_jax.builders.optimiser import learning_rate, make_optimiser
from knife_jax.clock import (
    Clock,
    after_task_switch,
    any_of,
    at_task_switch,
    every_env_steps,
    linear,
    rounds_of,
)
from knife_jax.config.env import SequenceConfig
from knife_jax.config.plasticity import (
    InjectionConfig,
    KnifeConfig,
    NoneConfig,
    PlasticityConfig,
    ScheduledConfig,
)
from knife_jax.config.run import Config
from knife_jax.config.schema import fields_of
from knife_jax.diagnostics.instruments import Probe, Sizes, make_probe
from knife_jax.envs import contract
from knife_jax.envs.base import EnvSpec, VecEnv
from knife_jax.envs.tasks import Tasks, single
from knife_jax.nets.wiring import Wiring, hidden
from knife_jax.parallel import devices
from knife_jax.parallel.devices import make_mesh, over_seeds
from knife_jax.parallel.shards import AXIS, SAME, SEEDS, WHOLE, Shards
from knife_jax.plasticity import methods
from knife_jax.plasticity.base import PlasticityTransform
from knife_jax.plasticity.combine import watched
from knife_jax.plasticity.meters import relative_update_activity
from knife_jax.training import chunk as training
from knife_jax.training.budget import Budget, make_budget
from knife_jax.training.evaluator import Episodes, evaluate
from knife_jax.training.joint import is_small, joint_values
from knife_jax.training.learner import make_learner
from knife_jax.training.rollout import rehearse
from knife_jax.training.task_switch import per_task
from knife_jax.types import TrainState, Variables


class Program(NamedTuple):
    """A configured run as functions. S is the axis of seeds."""

    spec: EnvSpec
    n_params: int
    init: Callable[[Sequence[int]], TrainState]
    clock: Callable[[], Clock]
    budget: Budget
    optimum: Sequence[float | None]
    """the best expected return of each task, where it is known"""
    mesh: Mapping[str, int]
    """``seed``: devices that the seeds are shared out to; ``data``: over how many each is split"""
    place: Callable[[TrainState, Clock], tuple[TrainState, Clock]]
    """arrays of the host, where ``chunk`` takes them"""
    chunk: jax.stages.Wrapped
    """(TrainState, Clock) -> (TrainState, Clock, Metrics), the state donated. With ``debug.nans``
    the metrics have the fault ``nan`` beside them."""
    evaluate: Callable[[TrainState, PRNGKeyArray, int], Episodes]
    """of a task, by its number; with a key for each seed [S]"""
    joint_values: Callable[[TrainState, PRNGKeyArray], Array] | None
    """[S, A, A]: Q_tot of all joint actions of two agents when an episode begins"""
    params: Callable[[TrainState], Variables]
    probe: Probe

    @property
    def round_steps(self) -> int:
        """Environment steps in a round of the Clock."""
        return self.budget.round_steps

    @property
    def env_steps(self) -> int:
        """The environment steps that each seed is trained for."""
        return self.budget.env_steps

    @property
    def task_steps(self) -> int | None:
        """Environment steps from one task of a sequence to the next."""
        return self.budget.task_steps


def make_plasticity(
    config: PlasticityConfig, wiring: Wiring, round_steps: int = 1
) -> PlasticityTransform:
    """The plasticity method of a config, for the layers that the wiring names."""
    fields = {name: getattr(config, name) for name in fields_of(type(config))}
    for label in ("name", "method"):
        del fields[label]
    if isinstance(config, NoneConfig):
        return watched(
            methods.none(wiring), relative_update_activity(hidden(wiring), config.window)
        )
    if isinstance(config, ScheduledConfig):
        interval, task_switch = fields.pop("interval"), fields.pop("at_task_switch")
        late = isinstance(config, KnifeConfig) and config.measure == "post_switch"
        switched = after_task_switch(config.window) if late else at_task_switch
        fields["when"] = any_of(
            *([every_env_steps(interval, round_steps)] if interval else ()),
            *[switched] * task_switch,
        )
    if isinstance(config, InjectionConfig):
        fields["at"] = rounds_of(config.at, round_steps)
    scope = fields.pop("scope", "all")
    part = tuple(group for group in wiring if scope in ("all", group.network))
    method = methods.METHODS[config.method](part, **fields)
    if scope == "mixer" and method.preserves == "nothing":
        # greedy actions are those of the agents' networks alone
        method = method._replace(preserves="greedy")
    if isinstance(config, KnifeConfig) and scope == "all":
        return method
    return watched(method, relative_update_activity(hidden(wiring), NoneConfig().window))


def make_trainer(
    config: Config, env: VecEnv, tasks: Tasks | None = None, shards: Shards = WHOLE
) -> training.Trainer:
    """Network, learner, method and sizes of a config, in the first of its tasks or the only one.

    The environments and, in the trainer, batch and capacity are those of one of the shards.
    """
    config = widened(config, env.spec)
    algo, plasticity = config.algo, config.plasticity
    agent, mixer, wiring = make_networks(config, env.spec)
    episodes_only = algo.data == "episodes"
    length = env.spec.horizon if episodes_only else algo.window
    n_envs = env.n_envs * shards.n
    budget = make_budget(config, length * n_envs)
    method = make_plasticity(plasticity, wiring, budget.round_steps)
    optimiser = method.optimiser(make_optimiser(algo))
    learner = make_learner(
        env.spec, agent, mixer, hidden(wiring), optimiser,
        hidden=algo.hidden, gamma=algo.gamma, td_lambda=algo.td_lambda, double_q=algo.double_q,
        target_period=algo.target_period, tau=algo.tau, needs=method.needs,
        shards=shards,
    )  # fmt: skip
    epsilon = linear(algo.epsilon_start, algo.epsilon_end, algo.epsilon_steps, budget.round_steps)
    sequence = None
    if tasks is not None and isinstance(config.env, SequenceConfig):
        sequence = make_sequence(config.env, tasks, env.n_envs, budget.round_steps, optimiser)
        if config.env.restart_epsilon:
            epsilon = per_task(epsilon)
    return training.Trainer(
        env=env,
        learner=learner,
        plasticity=method,
        epsilon=epsilon,
        learning_rate=learning_rate(algo),
        row=every_env_steps(config.log_every, budget.round_steps),
        most_rounds=min(
            rounds_of(config.log_every, budget.round_steps), budget.rounds, training.LONGEST
        ),
        hidden=algo.hidden,
        slots=plasticity.graft_slots,
        stagnant_threshold=_stagnation(plasticity).threshold,
        episodes_only=episodes_only,
        length=length,
        updates=algo.updates_per_round,
        waits=budget.waits,
        batch=algo.batch_size // shards.n,
        capacity=math.ceil(algo.buffer_size / n_envs) * env.n_envs,
        sequence=sequence,
        shards=shards,
    )


def _stagnation(config: PlasticityConfig) -> NoneConfig | KnifeConfig:
    """The section that says how stagnation is measured."""
    return config if isinstance(config, NoneConfig | KnifeConfig) else NoneConfig()


def build(config: Config) -> Program:
    """Everything the host needs for a run. Nothing is compiled yet.

    Raises ``ConfigError`` for sizes and devices that the machine does not have.
    """
    try:
        return _assembled(make_tasks(config.env), config)
    except OverflowError:
        raise memory.uncountable(config) from None


def build_in(env: Callable[[int], VecEnv], config: Config) -> Program:
    """The same in an environment of one's own: ``env(n)`` makes n of them.

    Raises ``ContractError`` where it breaks the contract of ``envs.base`` under random actions.
    """
    return build_tasks(single(env), config)


def build_tasks(tasks: Tasks, config: Config) -> Program:
    """The same for tasks of one's own. Raises ``ContractError``, see ``build_in``."""
    first, n = tasks.env(0, config.env.n_envs), config.env.n_envs
    contract.check_shapes(first)
    played = jax.jit(lambda task: rehearse(tasks.env(task, n), jax.random.key(0)))
    for task in range(tasks.n):
        contract.check(first.spec, jax.device_get(played(task)))
    return _assembled(tasks, config)


def _assembled(tasks: Tasks, config: Config) -> Program:
    splits = config.env.n_envs, config.algo.batch_size
    mesh = make_mesh(config.num_seeds, splits, 1 if config.debug.nans else config.devices)
    shards = Shards(mesh.shape[AXIS])
    env = tasks.env(0, config.env.n_envs // shards.n)
    memory.check_sizes(config, env.spec)
    trainer = make_trainer(config, env, tasks, shards)
    budget = make_budget(config, trainer.round_steps)
    begun = budget.plan(Clock.zero())
    one_seed = partial(training.chunk, trainer)
    if config.debug.nans:
        one_seed = _watched(one_seed)
    whole = shards.layout, SAME
    chunk = over_seeds(one_seed, mesh, whole, (*whole, SEEDS))
    begin = shards.over(partial(training.init, trainer))

    @jax.jit
    def init(keys: PRNGKeyArray) -> TrainState:
        # seed by seed: an orthogonal initialiser batched over seeds may deadlock on a CPU
        return jax.lax.map(begin, keys)

    @jax.jit
    def judged(variables: Variables, keys: PRNGKeyArray, task: Int[Array, ""]) -> Episodes:
        one = partial(
            evaluate, tasks.env(task, config.evaluation.episodes), trainer.learner.act,
            open_slots=trainer.slots, hidden=trainer.hidden,
        )  # fmt: skip
        return over_seeds(one, mesh, (SEEDS, SEEDS), SEEDS)(variables, keys)

    @jax.jit
    def joint(variables: Variables, key: PRNGKeyArray) -> Array:
        one = partial(
            joint_values, trainer.env, trainer.learner, open_slots=trainer.slots, key=key,
            hidden=trainer.hidden,
        )  # fmt: skip
        return jax.vmap(one)(variables)

    def place(state: TrainState, clock: Clock) -> tuple[TrainState, Clock]:
        return devices.place((state, clock), mesh, whole)

    sizes = Sizes(config.probes.windows, config.probes.functions, config.probes.fit_steps)
    state = jax.eval_shape(begin, jax.random.key(0))
    memory.check_state(config, state)
    shapes = state.patient.online["params"]
    return Program(
        spec=trainer.env.spec,
        n_params=sum(leaf.size for leaf in jax.tree.leaves(shapes)),
        init=lambda seeds: init(jnp.stack([jax.random.key(seed) for seed in seeds])),
        clock=lambda: jax.tree.map(jnp.array, begun),
        budget=budget,
        optimum=[None] * tasks.n if tasks.optimum is None else tasks.optimum.tolist(),
        mesh=dict(mesh.shape),
        place=place,
        chunk=jax.jit(chunk, donate_argnums=0, compiler_options=devices.compiler_options(mesh)),
        evaluate=lambda state, keys, task: judged(state.patient.online, keys, jnp.int32(task)),
        joint_values=(lambda state, key: joint(state.patient.online, key))
        if is_small(trainer.env)
        else None,
        params=lambda state: state.patient.online,
        probe=make_probe(
            trainer,
            sizes,
            _stagnation(config.plasticity).window,
            over_seeds=lambda f, layout: over_seeds(f, mesh, layout, SEEDS),
            fetch=devices.fetch,
        ),
    )


def _watched(chunk: Callable) -> Callable:
    """The chunk, with the first NaN that it makes named, by primitive and seed row."""
    checked = checkify.checkify(chunk, errors=checkify.nan_checks)

    def watched(state: TrainState, clock: Clock):
        fault, (state, clock, metrics) = checked(state, clock)
        return state, clock, {**metrics, "nan": fault}

    return watched
