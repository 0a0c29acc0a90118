"""One compiled piece of training: rounds of rollout, replay, updates and gated surgery."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from knife_jax.clock import Clock, Trigger, crossed
from knife_jax.envs.base import VecEnv
from knife_jax.nets.graft import occupancy, with_open_slots
from knife_jax.parallel.shards import WHOLE, Shards
from knife_jax.plasticity.apply import step
from knife_jax.plasticity.base import PlasticityTransform
from knife_jax.plasticity.invariants import change
from knife_jax.plasticity.stats import dormant_pct, pct_below
from knife_jax.training import replay
from knife_jax.training.learner import Learner
from knife_jax.training.rollout import EpisodeSums, first_episodes, rollout, start
from knife_jax.training.state import TrainState
from knife_jax.training.task_switch import TaskSequence, clock_at_last_update, switch
from knife_jax.types import Patient, PyTree

LONGEST = 4096
"""rounds of the longest chunk, however rare rows are to be: what each has seen is held until the
chunk ends, and so are signals"""


class Surgery(NamedTuple):
    """What happened to the network after one gradient step; zeros where no surgery was due."""

    fired: Array
    rounds: Int[Array, ""]
    updates: Int[Array, ""]
    task: Int[Array, ""]
    units_operated: Int[Array, ""]
    slots_used: Int[Array, ""]
    saturated_units: Int[Array, ""]
    churn_max: Float[Array, ""]
    """largest |ΔQ|, of agents and team, on the batch of the last update; NaN where the method
    operates at every update"""


class Trainer(NamedTuple):
    """The rounds of training and their fixed sizes.

    Environments, batch and capacity are those of one share, where a seed is split over devices.
    """

    env: VecEnv
    learner: Learner
    plasticity: PlasticityTransform
    epsilon: Callable[[Clock], Float[Array, ""]]
    learning_rate: Callable[[Clock], Float[Array, ""]]
    """of the gradient step that comes next"""
    row: Trigger
    """when training stops for a row of what was seen"""
    most_rounds: int
    """of one chunk"""
    slots: int
    stagnant_threshold: float
    episodes_only: bool
    length: int
    """environment steps of each environment in a round"""
    updates: int
    """gradient steps in a round"""
    waits: int
    """rounds that the replay holds before the first gradient step"""
    batch: int
    capacity: int
    sequence: TaskSequence | None = None
    """None where one task is trained throughout; else ``env`` is that of the first"""
    shards: Shards = WHOLE

    @property
    def round_steps(self) -> int:
        """Environment steps in a round, over all environments of all shares."""
        return self.length * self.env.n_envs * self.shards.n


def init(t: Trainer, key: PRNGKeyArray) -> TrainState:
    """One seed before its first step, or a share of it."""
    key, net_key, env_key = jax.random.split(key, 3)
    patient = t.learner.init(net_key)
    actor = start(t.env, t.learner.initial_carry(t.env.n_envs), t.shards.own(env_key))
    _, example, _ = jax.eval_shape(lambda a, k: _play(t, patient, a, Clock.zero(), k), actor, key)
    state = TrainState(
        patient=patient,
        plasticity=t.plasticity.init(patient.online),
        replay=replay.empty(example, t.capacity),
        actor=actor,
        key=key,
        finite=jnp.ones((), bool),
    )
    return jax.tree.map(_strongly_typed, state)


def _strongly_typed(leaf: Array) -> Array:
    """A weakly typed number of some environment's first state would retrace the second chunk."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    return jax.lax.convert_element_type(leaf, leaf.dtype)


def _open_slots(t: Trainer, clock: Clock) -> Int[Array, ""]:
    """No neuron can use more slots than surgeries were due so far."""
    return jnp.minimum(t.plasticity.trigger(clock), t.slots)


def trajectories_added(t: Trainer, clock: Clock) -> Int[Array, ""]:
    """How many windows the replay (of a share) was given since it was last empty, without those
    that filled it a second time, a third time and so on: no count here grows with the run."""
    rounds, full = clock.rounds - clock.replay_since, t.capacity // t.env.n_envs
    return jnp.where(rounds < full, rounds, full + rounds % full) * t.env.n_envs


def _last_asked(t: Trainer, clock: Clock) -> Clock:
    """What the triggers have seen up to the Clock at the beginning of a round."""
    return clock if t.sequence is None else clock_at_last_update(t.sequence, clock, t.waits)


def _play(t: Trainer, patient: Patient, actor, clock: Clock, key: PRNGKeyArray):
    if t.episodes_only:
        key, start_key = jax.random.split(key)
        actor = start(t.env, t.learner.initial_carry(t.env.n_envs), start_key)
    online = with_open_slots(patient.online, _open_slots(t, clock))
    actor, windows, sums = rollout(
        t.env, t.learner.act, online, actor, t.epsilon(clock), key, t.length,
        first_only=t.episodes_only,
    )  # fmt: skip
    if t.episodes_only:
        windows = windows.replace(valid=first_episodes(windows.valid))
    return actor, windows, sums


def chunk(t: Trainer, state: TrainState, clock: Clock):
    """Rounds until a row is due, or the task or the budget ends. Returns the state, the Clock and
    what was seen, as plain numbers; of the surgeries those of ``most_rounds``, as if each had been.

    A seed whose networks are no longer finite at the end gets those it had at the start back, and
    keeps them from then on: ``finite`` is False. What was seen of it in this chunk is void.
    """
    if t.sequence is not None:
        state, clock = switch(
            t.sequence, t.learner.initial_carry(t.env.n_envs), state, clock, t.shards
        )
        t = t._replace(env=t.sequence.env(clock.task))
    healthy, begin = (state.patient, state.plasticity), clock

    @partial(jax.jit, inline=True)  # so that what is traced for the shapes is not traced again
    def one_round(state, clock):
        key, play_key, learn_key = jax.random.split(state.key, 3)
        actor, windows, sums = _play(t, state.patient, state.actor, clock, t.shards.own(play_key))
        ring = replay.add(state.replay, windows, trajectories_added(t, clock))
        state = state.replace(actor=actor, replay=ring, key=key)
        after = clock._replace(rounds=clock.rounds + 1)
        ready = after.rounds - after.replay_since >= t.waits
        learn = jax.jit(
            lambda s: _learn(t, s, _last_asked(t, clock), after, learn_key), inline=True
        )
        skipped = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(learn, state)[2:]
        )
        state, clock, learnt, surgery = jax.lax.cond(
            ready, learn, lambda s: (s, after, *skipped), state
        )
        return state, clock, (sums, learnt, surgery)

    def goes_on(carry) -> Array:
        _, clock, _ = carry
        ends = crossed(t.row, begin, clock)
        if t.sequence is not None:
            ends |= crossed(t.sequence.task, begin, clock)
        full = clock.rounds - begin.rounds >= t.most_rounds
        return (clock.rounds < clock.budget) & ~ends & ~full

    def another_round(carry):
        state, clock, seen = carry
        place = clock.rounds - begin.rounds
        state, clock, now = one_round(state, clock)
        put = partial(jax.lax.dynamic_update_index_in_dim, index=place, axis=0)
        return state, clock, jax.tree.map(put, seen, now)

    shapes = jax.eval_shape(one_round, state, clock)[2]
    nothing = jax.tree.map(lambda leaf: jnp.zeros((t.most_rounds, *leaf.shape), leaf.dtype), shapes)
    state, clock, seen = jax.lax.while_loop(goes_on, another_round, (state, clock, nothing))
    sums, learnt, surgery = seen
    state = _kept_finite(state, healthy)
    surgery = {k: v.reshape(-1) for k, v in surgery._asdict().items()}
    sums = t.shards.total(jax.tree.map(jnp.sum, sums))
    train = _summary(t, state, clock, sums, learnt, clock.updates - begin.updates)
    return state, clock, {"train": train, "surgery": surgery, "breaches": sums.breaches}


def _kept_finite(state: TrainState, healthy: tuple[Patient, PyTree]) -> TrainState:
    """The state, with the networks of before where those of now are not finite, or were not."""
    now = state.patient, state.plasticity
    floats = [leaf for leaf in jax.tree.leaves(now) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    finite = state.finite & jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in floats]))
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), now, healthy)
    return state.replace(patient=kept[0], plasticity=kept[1], finite=finite)


def _learn(t: Trainer, state: TrainState, before: Clock, clock: Clock, key: PRNGKeyArray):
    """The gradient steps of one round, each followed by the surgery that is then due."""
    continual = t.plasticity.claims.continual

    def update(carry, key):
        patient, measured, before, clock = carry
        began = jnp.where(clock.task > before.task, clock.updates, clock.task_since)
        clock = clock._replace(task_since=began)
        sample_key, surgery_key = jax.random.split(key)
        sample_key = t.shards.own(sample_key)
        batch = replay.sample(state.replay, sample_key, t.batch, trajectories_added(t, clock))
        batch = t.plasticity.extras.augment(batch, jax.random.fold_in(sample_key, 1))
        n = _open_slots(t, before)
        online, target = (with_open_slots(v, n) for v in (patient.online, patient.target))
        grads, stats, metrics = t.learner.gradient(online, target, batch)
        patient = t.learner.step(patient, grads, clock)
        after = clock._replace(updates=clock.updates + 1)

        def churn(old: Patient, new: Patient) -> Float[Array, ""]:
            n = _open_slots(t, after)
            values = lambda v: t.learner.values(with_open_slots(v, n), batch)  # noqa: E731
            return t.shards.largest(change(values, old.online, new.online))

        patient, measured, event = step(
            t.plasticity, patient, measured, stats, before, after, surgery_key,
            compare=None if continual else churn,
        )  # fmt: skip
        metrics["stagnant_pct"] = pct_below(event.scores, t.stagnant_threshold)
        metrics["dormant_pct"] = dormant_pct(stats.activation)
        slots = occupancy(patient.online["grafts"], t.slots)
        surgery = Surgery(
            fired=event.due & (event.units_operated > 0) if continual else event.due,
            rounds=after.rounds,
            updates=after.updates,
            task=after.task,
            units_operated=event.units_operated,
            slots_used=slots.slots_used,
            saturated_units=slots.saturated_units,
            churn_max=event.change,
        )
        return (patient, measured, after, after), (metrics, surgery)

    carry = (state.patient, state.plasticity, before, clock)
    (patient, measured, _, clock), (metrics, surgeries) = jax.lax.scan(
        update, carry, jax.random.split(key, t.updates)
    )
    sums = jax.tree.map(jnp.sum, metrics)
    return state.replace(patient=patient, plasticity=measured), clock, sums, surgeries


def _summary(t: Trainer, state: TrainState, clock: Clock, sums: EpisodeSums, learnt, updates):
    """The chunk in one number per quantity; NaN where nothing was seen."""
    learnt = jax.tree.map(jnp.sum, learnt)
    last = t.learning_rate(clock._replace(updates=clock.updates - 1))
    slots = occupancy(state.patient.online["grafts"], t.slots)

    def mean(total, count):
        return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)

    return {
        "return": mean(sums.returned, sums.episodes),
        "win_rate": mean(sums.won, sums.episodes) if t.env.spec.has_win else jnp.nan,
        "length": mean(sums.length, sums.episodes),
        "episodes": sums.episodes,
        **{name: mean(value, updates) for name, value in learnt.items()},
        "finite": state.finite,
        "epsilon": t.epsilon(clock),
        "learning_rate": jnp.where(updates > 0, last, jnp.nan),
        "grafted_units": slots.grafted_units,
        "saturated_units": slots.saturated_units,
    }
