"""The parts of a round of training, each made of the functions that the chunk itself calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from chunks import Training

from knife_jax.builders.envs import make_tasks
from knife_jax.builders.trainer import make_trainer
from knife_jax.config.run import Config
from knife_jax.envs.base import TimeStep, VecEnv
from knife_jax.nets.graft import occupancy, with_open_slots
from knife_jax.plasticity.invariants import change
from knife_jax.plasticity.stats import dormant_pct, pct_below
from knife_jax.training import replay
from knife_jax.training.exploration import epsilon_greedy
from knife_jax.training.forward import forward as network_forward
from knife_jax.training.rollout import rollout
from knife_jax.training.trainer import Trainer, trajectories_added
from knife_jax.types import PyTree, Trajectory

ENDED, SPARES = ("ended", "last"), ("spare", "spare_env", "spare_first", "cursor", "turn")
"""fields of environments' states: which of them restart, and from what"""


class Part(NamedTuple):
    """One part, and what it works on: the seeds are axis 0 of ``carry`` and ``own``."""

    name: str
    calls: float
    """how often a round does it"""
    run: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, Any]]
    """(carry, own, same) of one seed -> (carry, results); the carry is donated"""
    own: PyTree
    same: PyTree = ()
    """what all seeds share"""
    carry: PyTree = ()
    at_once: int = 1
    """how often ``run`` does it"""

    def over_seeds(self) -> Callable[[PyTree, PyTree, PyTree], tuple[PyTree, Any]]:
        """``run`` of all seeds."""
        return jax.vmap(self.run, in_axes=(0, 0, None))


def trainer_of(config: Config) -> Trainer:
    """The functions and sizes of a round, unsplit."""
    tasks = make_tasks(config.env, config.seeds)
    return make_trainer(config, tasks.env(0, config.env.n_envs), tasks)


def never_ending(env: VecEnv) -> VecEnv:
    """The steps without any restart of an episode: what only restarts need is dead code."""

    def step(state: PyTree, action: jax.Array) -> tuple[PyTree, TimeStep]:
        ended = {name: jnp.zeros(env.n_envs, bool) for name in ENDED if hasattr(state, name)}
        after, row = env.step(state.replace(**ended), action)
        kept = {name: getattr(state, name) for name in SPARES if hasattr(state, name)}
        return after.replace(**kept), row

    return env._replace(step=step)


def parts(t: Trainer, begun: Training, n_rounds: int) -> dict[str, Part]:
    """The parts by name, at the sizes and with the values of a run that has begun.

    ``n_rounds`` is the length of the whole run, over which surgeries are spread.
    """
    play, windows = _playing(t, begun)
    return {part.name: part for part in (*play, *_learning(t, begun, windows, n_rounds))}


def _looking(run: Callable[[PyTree, PyTree], Any]) -> Callable:
    """A part that leaves everything as it is."""
    return lambda carry, own, same: (carry, run(own, same))


def _once(part: Part) -> Any:
    """What the part makes of a copy of its carry."""
    return jax.jit(part.over_seeds())(part.carry, part.own, part.same)


def _open_slots(t: Trainer, begun: Training) -> jax.Array:
    return jnp.minimum(t.plasticity.trigger(begun.clock), t.slots)


def _keys(begun: Training) -> jax.Array:
    return jax.vmap(partial(jax.random.fold_in, data=1))(begun.state.key)


def _playing(t: Trainer, begun: Training) -> tuple[list[Part], Trajectory]:
    """Parts of acting, and windows as they come out of it."""
    actor, variables, keys = begun.state.actor, begun.state.patient.online, _keys(begun)
    shown = t.epsilon(begun.clock), _open_slots(t, begun)

    def whole(own: PyTree, same: PyTree) -> Any:
        (variables, actor, key), (epsilon, slots) = own, same
        variables = with_open_slots(variables, slots)
        return rollout(t.env, t.learner.act, variables, actor, epsilon, key, t.length)

    def steps(env: VecEnv) -> Callable:
        return _looking(lambda own, _: jax.lax.scan(env.step, *own))

    def act(own: PyTree, same: PyTree) -> tuple[jax.Array, jax.Array]:
        (variables, carry, rows, last_action, key), (epsilon, slots) = own, same
        variables = with_open_slots(variables, slots)

        def step(carry, row):
            now, last_action, key = row
            carry, values = t.learner.act(variables, carry, now, last_action)
            return carry, epsilon_greedy(key, values, now.avail_actions, epsilon)

        return jax.lax.scan(step, carry, (rows, last_action, jax.random.split(key, t.length)))

    rolled = Part("rollout", 1, _looking(whole), (variables, actor, keys), shown)
    _, (_, windows, _) = _once(rolled)
    moves = (actor.env, windows.action)
    moved = Part("environment", t.length, steps(t.env), moves, at_once=t.length)
    _, (_, after) = _once(moved)

    def before(first: jax.Array, rest: jax.Array) -> jax.Array:
        return jnp.concatenate([first[:, None], rest[:, :-1]], axis=1)

    seen = jax.tree.map(before, actor.time_step, after)
    to_act = (variables, actor.carry, seen, before(actor.last_action, windows.action), keys)
    return [
        rolled,
        moved,
        moved._replace(name="environment, never ending", run=steps(never_ending(t.env))),
        Part("acting", t.length, _looking(act), to_act, shown, at_once=t.length),
    ], windows


def _learning(t: Trainer, begun: Training, windows: Trajectory, n_rounds: int) -> list[Part]:
    """Parts of what is done with windows, those of a gradient step in a loop, as in the chunk:
    alone, an update of 128 hidden units takes 1.4 times as long on a CPU."""
    state, clock, slots, keys = begun.state, begun.clock, _open_slots(t, begun), _keys(begun)
    patient, grafts, n = state.patient, state.patient.online["grafts"], t.updates

    def add(ring, windows, clock):
        return replay.add(ring, windows, trajectories_added(t, clock)), None

    def sample(ring, key, clock):
        batch = replay.sample(ring, key, t.batch, trajectories_added(t, clock))
        return t.plasticity.extras.augment(batch, key)

    def samples(own, clock):
        ring, key = own
        return jax.lax.map(lambda key: sample(ring, key, clock), jax.random.split(key, n))

    def forward(own, slots):
        patient, batches = own
        online, target = (with_open_slots(v, slots) for v in (patient.online, patient.target))

        def values(batch):
            agents, _, estimates, _ = network_forward(t.learner.networks, online, batch)
            return estimates, t.learner.targets(agents, target, batch)

        return jax.lax.map(values, batches)

    def update(patient, batches, same):
        clock, slots = same

        def step(patient, batch):
            online, target = (with_open_slots(v, slots) for v in (patient.online, patient.target))
            grads, *seen = t.learner.gradient(online, target, batch)
            return t.learner.step(patient, grads, clock), seen

        return jax.lax.scan(step, patient, batches)

    def measure(measured, own, clock):
        stats, grafts = own
        scores = t.plasticity.extras.scores
        assert scores is not None  # a trainer's method has a monitor

        def step(measured, stats):
            measured = t.plasticity.measure(measured, stats, clock)
            stagnant = pct_below(scores(measured), t.stagnant_threshold)
            return measured, (stagnant, dormant_pct(stats.activation), occupancy(grafts, t.slots))

        return jax.lax.scan(step, measured, stats)

    def operate(own, slots):
        patient, measured, batch, key = own
        after, *report = t.plasticity.operate(patient, measured, key)
        if t.plasticity.claims.continual:
            return after, report
        values = lambda v: t.learner.values(with_open_slots(v, slots), batch)  # noqa: E731
        return after, report, change(values, patient.online, after.online)

    sampled = Part("replay sample", n, _looking(samples), (state.replay, keys), clock, at_once=n)
    _, batches = _once(sampled)
    updated = Part("learner update", n, update, batches, (clock, slots), patient, at_once=n)
    _, (stats, _) = _once(updated)
    looked = Part("learner forward", n, _looking(forward), (patient, batches), slots, at_once=n)
    metered = Part("meters", n, measure, (stats, grafts), clock, state.plasticity, at_once=n)
    one = jax.tree.map(lambda leaf: leaf[:, 0], batches)
    operated = (patient, state.plasticity, one, keys)
    end = clock._replace(rounds=jnp.int32(n_rounds), updates=jnp.int32(n_rounds * n))
    due = int(t.plasticity.trigger(end))
    return [
        Part("replay add", 1, add, windows, clock, state.replay),
        sampled,
        looked,
        updated,
        metered,
        *[Part("surgery", due / n_rounds, _looking(operate), operated, slots)] * (due > 0),
    ]
