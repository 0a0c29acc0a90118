"""The gradient steps of a round, each followed by the surgery that is then due."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from knife_jax.clock import Clock, crossed
from knife_jax.nets.graft import occupancy, with_open_slots
from knife_jax.plasticity.apply import step
from knife_jax.plasticity.base import Importance
from knife_jax.plasticity.importance import OF_SLOPES
from knife_jax.plasticity.invariants import change
from knife_jax.plasticity.stats import dormant_pct, pct_below
from knife_jax.training import replay
from knife_jax.training.state import TrainState
from knife_jax.training.trainer import Trainer, open_slots, trajectories_added
from knife_jax.types import Flat, Patient


class Surgery(NamedTuple):
    """What happened to the network after one gradient step; zeros if no surgery was due."""

    fired: Array
    rounds: Int[Array, ""]
    updates: Int[Array, ""]
    task: Int[Array, ""]
    units_operated: Int[Array, ""]
    slots_used: Int[Array, ""]
    saturated_units: Int[Array, ""]
    churn_max: Float[Array, ""]
    """largest |ΔQ|, of agents and Q_tot, on the batch of the last update; NaN if the method
    operates at every update"""


def n_keys(trainer: Trainer) -> int:
    """Return how many keys ``learn`` needs: four a gradient step, and one for the order."""
    return 4 * trainer.updates + 1


def learn(trainer: Trainer, state: TrainState, before: Clock, clock: Clock, keys: Key[Array, "K"]):
    """Take the gradient steps of one round, each followed by the surgery that is then due.

    ``before`` is the Clock that triggers read last, ``clock`` that of now; ``n_keys`` says how many
    keys. Returns the state, the Clock, sums of the metrics (``Flat``), and a ``Surgery`` for each
    gradient step.
    """
    continual = trainer.plasticity.claims.continual
    weighed: list[Importance] = [
        kind for kind in OF_SLOPES if kind in trainer.plasticity.extras.needs
    ]

    def update(carry, given):
        keys, chosen = given
        patient, measured, before, clock = carry
        began = jnp.where(clock.task > before.task, clock.updates, clock.task_since)
        clock = clock._replace(task_since=began)
        sample_key, augment_key, gradient_key = map(trainer.shards.own, keys[:3])
        if chosen is None:
            added = trajectories_added(trainer, clock)
            batch = replay.sample(state.replay, sample_key, trainer.batch, added)
        else:
            batch = replay.pick(state.replay, chosen)
        batch = trainer.plasticity.extras.augment(batch, augment_key)
        n = open_slots(trainer, before)
        online, target = (with_open_slots(v, n) for v in (patient.online, patient.target))
        grads, stats, metrics = trainer.learner.gradient(online, target, batch, gradient_key)
        patient = trainer.learner.step(patient, grads, clock)
        after = clock._replace(updates=clock.updates + 1)

        def churn(old: Patient, new: Patient) -> Float[Array, ""]:
            n = open_slots(trainer, after)
            values = lambda v: trainer.learner.values(with_open_slots(v, n), batch)  # noqa: E731
            return trainer.shards.largest(change(values, old.online, new.online))

        if weighed:
            due = crossed(trainer.plasticity.trigger, before, after)
            stats = stats.replace(
                importance=jax.lax.cond(
                    due,
                    lambda: trainer.learner.importance(
                        weighed[0], with_open_slots(patient.online, n), target, batch, gradient_key
                    ),
                    lambda: optax.tree.zeros_like(grads),
                )
            )
        patient, measured, event = step(
            trainer.plasticity, patient, measured, stats, before, after, keys[3],
            compare=None if continual else churn,
        )  # fmt: skip
        metrics["stagnant_pct"] = pct_below(event.scores, trainer.stagnant_threshold)
        metrics["dormant_pct"] = dormant_pct(stats.activation)
        slots = occupancy(patient.online["grafts"], trainer.slots)
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
        return (patient, measured, after, after), (Flat.of(metrics), surgery)

    order = None
    if trainer.in_epochs:
        order_key = trainer.shards.own(keys[-1])
        order = replay.epochs(order_key, trainer.capacity, trainer.batch, trainer.updates)
    carry = (state.patient, state.plasticity, before, clock)
    (patient, measured, _, clock), (metrics, surgeries) = jax.lax.scan(
        update, carry, (keys[:-1].reshape(trainer.updates, 4), order)
    )
    sums = metrics.replace(numbers=jnp.sum(metrics.numbers, axis=0))
    return state.replace(patient=patient, plasticity=measured), clock, sums, surgeries
