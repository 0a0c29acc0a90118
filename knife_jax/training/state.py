"""All that training consists of besides the Clock, and how it lies on the devices."""

from __future__ import annotations

from typing import Any, NamedTuple

from flax import struct
from jaxtyping import Array, Bool, PRNGKeyArray

from knife_jax.parallel.shards import SEEDS, SHARDS, Shards
from knife_jax.training.replay import ReplayState
from knife_jax.types import Patient, PyTree


class TrainState(struct.PyTreeNode):
    """All that one seed's training consists of, besides the Clock."""

    patient: Patient
    plasticity: PyTree
    replay: ReplayState
    actor: PyTree
    key: PRNGKeyArray
    finite: Bool[Array, ""]
    """False once this seed has diverged; its networks then stay as they last were"""
    tasks: PyTree = None
    """leaves [K, ...]: the tasks of a seed that has its own; see ``envs.tasks.Tasks``"""


class Healthy(NamedTuple):
    """What a seed that has diverged goes back to."""

    patient: Patient
    plasticity: PyTree


def layout(shards: Shards) -> PyTree:
    """How the training state lies on the devices; with one shard it has no axis of shards."""
    own = SHARDS if shards.n > 1 else SEEDS
    whole = ("patient", "plasticity", "key", "finite", "tasks")
    specs: dict[str, Any] = dict.fromkeys(whole, SEEDS)
    specs |= {"replay": own, "actor": own}
    return TrainState(**specs)
