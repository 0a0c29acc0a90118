"""A configured run as compiled functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jaxtyping import Array, Float, Key, PRNGKeyArray

from knife_jax.builders import memory
from knife_jax.builders.budget import make_budget
from knife_jax.builders.envs import make_tasks, of_seeds
from knife_jax.builders.evaluation import Recorder, make_evaluation, make_recorder
from knife_jax.builders.trainer import make_trainer
from knife_jax.clock import (
    Clock,
)
from knife_jax.config.run import Config, check_config
from knife_jax.diagnostics.instruments import Probe, Sizes, make_probe
from knife_jax.envs import contract
from knife_jax.envs.base import EnvSpec, VecEnv
from knife_jax.envs.rehearsal import rehearse
from knife_jax.envs.tasks import Games, Tasks, single
from knife_jax.envs.view import View
from knife_jax.parallel import devices
from knife_jax.parallel.devices import make_mesh, over_seeds
from knife_jax.parallel.shards import AXIS, SAME, SEEDS, Shards
from knife_jax.training import chunk as training
from knife_jax.training.budget import Budget
from knife_jax.training.evaluator import Episodes
from knife_jax.training.joint import is_small, joint_values
from knife_jax.training.rollout import ActorState
from knife_jax.training.state import Healthy, TrainState, layout
from knife_jax.training.trainer import begin_episodes
from knife_jax.types import PyTree, Variables


class Program(NamedTuple):
    """A configured run as functions. S is the axis of seeds."""

    spec: EnvSpec
    n_params: int
    shapes: TrainState
    """of what ``init`` makes"""
    init: Callable[[Sequence[int]], TrainState]
    clock: Callable[[], Clock]
    budget: Budget
    n_tasks: int
    optimum: Float[np.ndarray, "S K"] | None
    """the best expected return of each seed's tasks, if it is known"""
    mesh: Mapping[str, int]
    """``seed``: devices that the seeds are shared out to; ``data``: over how many each is split"""
    place: Callable[[TrainState, Clock], tuple[TrainState, Clock]]
    """arrays of the host, where ``chunk`` takes them"""
    chunk: jax.stages.Wrapped
    """(TrainState, Clock) -> (TrainState, Clock, what was seen), the state donated; see
    ``training.chunk``. With ``debug.nans`` the fault ``nan`` is among what was seen."""
    freeze: Callable[[TrainState, Healthy], TrainState]
    """of a chunk's results, if a seed is not ``finite``: that seed gets its networks of before"""
    evaluate: Callable[[TrainState, Key[Array, "S"], int], Episodes]
    """of a task, by its number; with a key for each seed [S]"""
    compile_evaluation: Callable[[TrainState, Key[Array, "S"]], None]
    """so that ``evaluate`` need not, with arguments of the same shapes, placed alike; nothing is
    compiled if it plays games outside of jax"""
    joint_values: Callable[[TrainState, PRNGKeyArray], Array] | None
    """[S, A, A]: Q_tot of all joint actions of two agents when an episode begins"""
    params: Callable[[TrainState], Variables]
    probe: Probe
    games: Games | None
    """what must be opened before ``init``, if the environment is outside of jax"""
    actors: Callable[[TrainState], ActorState]
    """[S, ...]: new episodes of the networks of a checkpoint"""
    record: Recorder
    view: View | None
    """how the environment is drawn in recordings"""

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


def build(config: Config) -> Program:
    """Everything the host needs for a run. Nothing is compiled yet.

    Raises ``ConfigError`` for sizes and devices that the machine does not have.
    """
    check_config(config)
    try:
        return _assembled(make_tasks(config.env, config.seeds), config)
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
    played = jax.jit(lambda task, own: rehearse(tasks.env(task, n, own), jax.random.key(0)))
    for s in range(1 if tasks.own is None else config.num_seeds):
        own = jax.tree.map(lambda leaf: leaf[s], tasks.own)  # noqa: B023
        for task in range(tasks.n):
            contract.check(first.spec, jax.device_get(played(task, own).breaches))
    return _assembled(tasks, config)


def _assembled(tasks: Tasks, config: Config) -> Program:
    splits = (1,) if tasks.games else (config.env.n_envs, config.algo.batch_size)
    mesh = make_mesh(config.num_seeds, splits, 1 if config.debug.nans else config.devices)
    shards = Shards(mesh.shape[AXIS])
    env = tasks.env(0, config.env.n_envs // shards.n)
    memory.check_sizes(config, env.spec)
    trainer = make_trainer(config, env, tasks, shards)
    budget = make_budget(config, trainer.round_steps)
    begun = budget.plan(Clock.zero())
    one_seed = partial(training.chunk, trainer)
    if config.debug.nans:
        one_seed = _with_nan_checks(one_seed)
    whole = layout(shards), SAME
    chunk = over_seeds(one_seed, mesh, whole, (*whole, SEEDS))
    evaluated = make_evaluation(tasks, config, trainer.learner, mesh)

    # in turn: an orthogonal initialiser batched over seeds may deadlock on a CPU
    begin = over_seeds(partial(training.init, trainer), mesh, SEEDS, whole[0], in_turn=True)
    begun_by_seed = jax.jit(begin, compiler_options=devices.options_once())

    def init(seeds: Sequence[int]) -> TrainState:
        keys = jnp.stack([jax.random.key(seed) for seed in seeds])
        return begun_by_seed(keys, of_seeds(tasks.own, config, seeds))

    def evaluation_of(state: TrainState, keys: Key[Array, "S"], task: int) -> tuple:
        return state.patient.online, keys, jnp.int32(task), state.tasks

    def compile_evaluation(state: TrainState, keys: Key[Array, "S"]) -> None:
        if isinstance(evaluated, jax.stages.Wrapped):
            evaluated.lower(*evaluation_of(state, keys, 0)).compile()

    @jax.jit
    def actors(state: TrainState) -> ActorState:
        anew = lambda key: begin_episodes(trainer, env, jax.random.fold_in(key, 1))  # noqa: E731
        return jax.lax.map(anew, state.key)

    @jax.jit
    def joint(variables: Variables, own: PyTree, key: PRNGKeyArray) -> Array:
        def one(variables: Variables, own: PyTree) -> Array:
            first = tasks.env(0, trainer.env.n_envs, own)
            return joint_values(first, trainer.learner, variables, key)

        return jax.vmap(one)(variables, own)

    keep = jax.jit(jax.vmap(training.kept_finite))

    def freeze(state: TrainState, healthy: Healthy) -> TrainState:
        kept = keep(state.finite, Healthy(state.patient, state.plasticity), healthy)
        return state.replace(patient=kept.patient, plasticity=kept.plasticity)

    def place(state: TrainState, clock: Clock) -> tuple[TrainState, Clock]:
        return devices.place((state, clock), mesh, whole)

    sizes = Sizes(config.probes.windows, config.probes.functions, config.probes.fit_steps)
    keys = jax.eval_shape(partial(jax.random.split, num=config.num_seeds), jax.random.key(0))
    state = jax.eval_shape(begun_by_seed, keys, tasks.own)
    memory.check_state(config, state)
    params = jax.tree.leaves(state.patient.online["params"])
    options = devices.compiler_options(mesh.local_devices)
    return Program(
        spec=trainer.env.spec,
        n_params=sum(leaf.size for leaf in params) // config.num_seeds,
        shapes=state,
        init=init,
        clock=lambda: jax.tree.map(jnp.array, begun),
        budget=budget,
        n_tasks=tasks.n,
        optimum=tasks.optima(config.num_seeds),
        mesh=dict(mesh.shape),
        place=place,
        chunk=jax.jit(chunk, donate_argnums=0, compiler_options=options),
        freeze=freeze,
        evaluate=lambda *args: evaluated(*evaluation_of(*args)),
        compile_evaluation=compile_evaluation,
        joint_values=(lambda state, key: joint(state.patient.online, state.tasks, key))
        if is_small(trainer.env) and not tasks.games
        else None,
        params=lambda state: state.patient.online,
        probe=make_probe(
            trainer,
            sizes,
            config.plasticity.stagnation().window,
            over_seeds=lambda f, layout: over_seeds(f, mesh, layout, SEEDS),
            fetch=devices.fetch,
        ),
        games=tasks.games,
        actors=actors,
        record=make_recorder(tasks, config, trainer.learner),
        view=trainer.env.view,
    )


def _with_nan_checks(chunk: Callable) -> Callable:
    """The chunk, with the first NaN that it makes named, by primitive and seed row."""
    checked = checkify.checkify(chunk, errors=checkify.nan_checks)

    def with_nan_checks(state: TrainState, clock: Clock):
        fault, (state, clock, metrics) = checked(state, clock)
        return state, clock, {**metrics, "nan": fault}

    return with_nan_checks
