"""One compiled piece of training: rounds of rollout, replay, updates and gated surgery."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from knife_jax.clock import Clock, crossed
from knife_jax.nets.graft import occupancy, with_open_slots
from knife_jax.training import replay
from knife_jax.training.rollout import EpisodeSums, first_episodes, rollout
from knife_jax.training.state import Healthy, TrainState
from knife_jax.training.task_switch import clock_at_last_update, switch
from knife_jax.training.trainer import Trainer, begin_episodes, open_slots, trajectories_added
from knife_jax.training.updates import learn, n_keys
from knife_jax.types import Flat, Patient, PyTree

MAX_ROUNDS = 4096
"""rounds of the longest chunk, however rare log lines are to be: what each has seen is held until
the chunk ends, and so are signals"""


def init(trainer: Trainer, key: PRNGKeyArray, tasks: PyTree = None) -> TrainState:
    """One seed before its first step, or a shard of it; ``tasks`` if it has its own."""
    key, net_key, env_key = jax.random.split(key, 3)
    patient = trainer.learner.init(net_key)
    if trainer.sequence is not None:
        trainer = trainer._replace(env=trainer.sequence.env(0, tasks))
    actor = begin_episodes(trainer, trainer.env, trainer.shards.own(env_key))
    _, example, _ = jax.eval_shape(
        lambda a, k: _play(trainer, patient, a, Clock.zero(), k), actor, key
    )
    state = TrainState(
        patient=patient,
        plasticity=trainer.plasticity.init(patient.online),
        replay=replay.empty(example, trainer.capacity),
        actor=actor,
        key=key,
        finite=jnp.ones((), bool),
        tasks=jax.tree.map(jnp.asarray, tasks),
    )
    return jax.tree.map(_strongly_typed, state)


def _strongly_typed(leaf: Array) -> Array:
    """A weakly typed number of some environment's first state would retrace the second chunk."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    return jax.lax.convert_element_type(leaf, leaf.dtype)


def chunk(trainer: Trainer, state: TrainState, clock: Clock):
    """Train until a log line is due, or the task or the budget ends.

    Returns the state, the Clock and what was seen: under ``train``, ``surgery`` and ``breaches``
    plain numbers, of the surgeries those of ``most_rounds``, as if each had been; under ``healthy``
    the networks at the start.

    If a seed's networks are not finite at the end, or were not in an earlier chunk, ``finite`` is
    False and what was seen of it is void: ``kept_finite`` gives it those of the start back.
    """
    if trainer.sequence is not None:
        state, clock = switch(
            trainer.sequence, partial(begin_episodes, trainer), state, clock, trainer.shards
        )
        trainer = trainer._replace(env=trainer.sequence.env(clock.task, state.tasks))
    healthy, begin = Healthy(state.patient, state.plasticity), clock

    @partial(jax.jit, inline=True)  # so that what is traced for the shapes is not traced again
    def one_round(state, clock):
        keys = jax.random.split(state.key, 2 + n_keys(trainer))
        key, play_key, learn_keys = keys[0], keys[1], keys[2:]
        actor, windows, sums = _play(
            trainer, state.patient, state.actor, clock, trainer.shards.own(play_key)
        )
        ring = replay.add(state.replay, windows, trajectories_added(trainer, clock))
        state = state.replace(actor=actor, replay=ring, key=key)
        after = clock._replace(rounds=clock.rounds + 1)
        ready = after.rounds - after.replay_since >= trainer.waits
        update = jax.jit(
            lambda s: learn(trainer, s, _last_read(trainer, clock), after, learn_keys), inline=True
        )
        skipped = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(update, state)[2:]
        )
        state, clock, learnt, surgery = jax.lax.cond(
            ready, update, lambda s: (s, after, *skipped), state
        )
        return state, clock, (Flat.of(sums), learnt), surgery

    def goes_on(carry) -> Array:
        _, clock, *_ = carry
        ends = crossed(trainer.log, begin, clock)
        if trainer.sequence is not None:
            ends |= crossed(trainer.sequence.task, begin, clock)
        full = clock.rounds - begin.rounds >= trainer.most_rounds
        return (clock.rounds < clock.budget) & ~ends & ~full

    def another_round(carry):
        state, clock, sums, surgeries = carry
        place = clock.rounds - begin.rounds
        state, clock, of_round, surgery = one_round(state, clock)
        put = partial(jax.lax.dynamic_update_index_in_dim, index=place, axis=0)
        sums = jax.tree.map(jnp.add, sums, of_round)
        return state, clock, sums, jax.tree.map(put, surgeries, surgery)

    *_, sums, surgery = jax.eval_shape(one_round, state, clock)
    zero = state.finite & False  # the seed's own: jax batches a loop anew if a carry becomes so

    def zeros(leaf, *more):
        return jnp.broadcast_to(zero, (*more, *leaf.shape)).astype(leaf.dtype)

    nothing = jax.tree.map(zeros, sums)
    none_due = jax.tree.map(lambda leaf: zeros(leaf, trainer.most_rounds), surgery)
    state, clock, (sums, learnt), surgery = jax.lax.while_loop(
        goes_on, another_round, (state, clock, nothing, none_due)
    )
    state = state.replace(finite=state.finite & _finite(Healthy(state.patient, state.plasticity)))
    surgery = {k: v.reshape(-1) for k, v in surgery._asdict().items()}
    sums = trainer.shards.total(sums).tree
    train = _summary(trainer, state, clock, sums, learnt.tree, clock.updates - begin.updates)
    seen = {"train": train, "surgery": surgery, "breaches": sums.breaches, "healthy": healthy}
    return state, clock, seen


def kept_finite(finite: Array, now: Healthy, healthy: Healthy) -> Healthy:
    """The networks of one seed after a chunk: if they are not ``finite`` those of before."""
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), now, healthy)


def _play(trainer: Trainer, patient: Patient, actor, clock: Clock, key: PRNGKeyArray):
    if trainer.episodes_only:
        key, start_key = jax.random.split(key)
        actor = begin_episodes(trainer, trainer.env, start_key, actor.env)
    online = with_open_slots(patient.online, open_slots(trainer, clock))
    actor, windows, sums = rollout(
        trainer.env, trainer.learner.act, online, actor, trainer.epsilon(clock), key,
        trainer.length, first_only=trainer.episodes_only,
    )  # fmt: skip
    if trainer.episodes_only:
        windows = windows.replace(valid=first_episodes(windows.valid))
    return actor, windows, sums


def _last_read(trainer: Trainer, clock: Clock) -> Clock:
    """What the triggers have seen up to the Clock at the beginning of a round."""
    return (
        clock
        if trainer.sequence is None
        else clock_at_last_update(trainer.sequence, clock, trainer.waits)
    )


def _finite(tree: PyTree) -> Array:
    """Whether all numbers of a tree are finite."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.isfinite(Flat.of(floats).numbers))


def _summary(trainer: Trainer, state: TrainState, clock: Clock, sums: EpisodeSums, learnt, updates):
    """The chunk in one number per quantity; NaN where nothing was seen."""
    last = trainer.learning_rate(clock._replace(updates=clock.updates - 1))
    slots = occupancy(state.patient.online["grafts"], trainer.slots)

    def mean(total, count):
        return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)

    return {
        "return": mean(sums.returned, sums.episodes),
        "win_rate": mean(sums.won, sums.episodes) if trainer.env.spec.has_win else jnp.nan,
        "length": mean(sums.length, sums.episodes),
        "episodes": sums.episodes,
        **{name: mean(value, updates) for name, value in learnt.items()},
        "finite": state.finite,
        "epsilon": trainer.epsilon(clock),
        "learning_rate": jnp.where(updates > 0, last, jnp.nan),
        "grafted_units": slots.grafted_units,
        "saturated_units": slots.saturated_units,
    }
