"""Plasticity methods: meter × select × rewrite × when.

Usable on any flax network whose dense layers are described by a ``Wiring``; needs jax, flax, optax
and jaxtyping alone. A method is made by one of the named factories, or of its parts by ``surgery``;
``step`` runs it after each gradient step. ``README.md`` beside this file has examples and says what
the names mean.
"""

from knife_jax.clock import (
    Clock,
    after_task_switch,
    any_of,
    at_task_switch,
    crossed,
    every_env_steps,
    every_updates,
    never,
    once,
)
from knife_jax.nets.graft import GraftedDense, Occupancy, occupancy, with_open_slots
from knife_jax.nets.initialisers import Init, orthogonal_init, torch_init
from knife_jax.nets.target_network import update_target
from knife_jax.nets.wiring import NeuronGroup, Wiring, check, relu_groups
from knife_jax.plasticity import methods
from knife_jax.plasticity.anchoring import toward_anchor
from knife_jax.plasticity.apply import Event, operate_if_due, step
from knife_jax.plasticity.base import (
    Claims,
    Extras,
    Importance,
    Meter,
    NeuronStats,
    PlasticityTransform,
    Report,
    Rewrite,
    Select,
)
from knife_jax.plasticity.combine import identity, reset_per_task, surgery, with_monitor
from knife_jax.plasticity.edits import absorb, blend, redraw, seed_neurons
from knife_jax.plasticity.flat import flat
from knife_jax.plasticity.importance import weight_importance
from knife_jax.plasticity.invariants import change, check_operation
from knife_jax.plasticity.meters import (
    Ordered,
    ordered_by,
    relative_activation,
    relative_sensitivity,
    relative_update_activity,
    running,
    unmeasured,
)
from knife_jax.plasticity.methods import *  # noqa: F403  (every method, by the list in that file)
from knife_jax.plasticity.moments import restart, seed_moments
from knife_jax.plasticity.regularise import fixed_norms, toward_initial
from knife_jax.plasticity.rewrite import graft, prune, recycle
from knife_jax.plasticity.select import all_units, as_many, at_least, at_most, below, random_like
from knife_jax.plasticity.stats import dormant_pct, neuron_stats, pct_below
from knife_jax.types import Patient

__all__ = [
    "Claims",
    "Clock",
    "Event",
    "Extras",
    "GraftedDense",
    "Importance",
    "Init",
    "Meter",
    "NeuronGroup",
    "NeuronStats",
    "Occupancy",
    "Ordered",
    "Patient",
    "PlasticityTransform",
    "Report",
    "Rewrite",
    "Select",
    "Wiring",
    "absorb",
    "after_task_switch",
    "all_units",
    "any_of",
    "as_many",
    "at_least",
    "at_most",
    "at_task_switch",
    "below",
    "blend",
    "change",
    "check",
    "check_operation",
    "crossed",
    "dormant_pct",
    "every_env_steps",
    "every_updates",
    "fixed_norms",
    "flat",
    "graft",
    "identity",
    "neuron_stats",
    "never",
    "occupancy",
    "once",
    "operate_if_due",
    "ordered_by",
    "orthogonal_init",
    "pct_below",
    "prune",
    "random_like",
    "recycle",
    "redraw",
    "relative_activation",
    "relative_sensitivity",
    "relative_update_activity",
    "relu_groups",
    "reset_per_task",
    "restart",
    "running",
    "seed_moments",
    "seed_neurons",
    "step",
    "surgery",
    "torch_init",
    "toward_anchor",
    "toward_initial",
    "unmeasured",
    "update_target",
    "weight_importance",
    "with_monitor",
    "with_open_slots",
]  # fmt: skip
__all__ += methods.__all__
