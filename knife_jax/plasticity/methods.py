"""The table of methods, and those without surgery."""

from __future__ import annotations

from knife_jax.checks import checked
from knife_jax.config.grafting import WiderConfig
from knife_jax.config.schema import Count
from knife_jax.nets.wiring import Wiring
from knife_jax.plasticity.anchoring import ewc, l2_task, mas
from knife_jax.plasticity.base import Factory, PlasticityTransform
from knife_jax.plasticity.combine import identity
from knife_jax.plasticity.grafting import knife, plasticity_injection
from knife_jax.plasticity.per_update import cbp, snr
from knife_jax.plasticity.reborn import reborn
from knife_jax.plasticity.recycling import pruning, redo, regrama, reverse_redo
from knife_jax.plasticity.regularise import l2_init, nap
from knife_jax.plasticity.resets import (
    marr,
    reset_full,
    reset_last,
    restart_optimiser,
    shrink_perturb,
)

__all__ = [
    "METHODS",
    "cbp",
    "ewc",
    "knife",
    "l2_init",
    "l2_task",
    "marr",
    "mas",
    "nap",
    "plasticity_injection",
    "pruning",
    "reborn",
    "redo",
    "regrama",
    "reset_full",
    "reset_last",
    "restart_optimiser",
    "reverse_redo",
    "shrink_perturb",
    "snr",
]
"""what ``knife_jax.plasticity`` offers of this file"""


@checked
def none(wiring: Wiring) -> PlasticityTransform:
    """Make the method without surgery, for any network."""
    del wiring
    return identity()


@checked
def wider(wiring: Wiring, *, slots: Count = WiderConfig.slots) -> PlasticityTransform:
    """Make the method without surgery, for a network with as many weights as one with so many graft
    slots."""
    del slots
    return none(wiring)


METHODS: dict[str, Factory] = {
    "none": none,
    "knife": knife,
    "plasticity_injection": plasticity_injection,
    "redo": redo,
    "reverse_redo": reverse_redo,
    "pruning": pruning,
    "reborn": reborn,
    "regrama": regrama,
    "reset_last": reset_last,
    "reset_full": reset_full,
    "restart_optimiser": restart_optimiser,
    "shrink_perturb": shrink_perturb,
    "marr": marr,
    "cbp": cbp,
    "snr": snr,
    "l2_init": l2_init,
    "nap": nap,
    "l2_task": l2_task,
    "ewc": ewc,
    "mas": mas,
    "layer_norm": none,
    "wider": wider,
}
"""``plasticity.method`` -> factory: (wiring, **fields of its section) -> PlasticityTransform. The
last two differ from ``none`` in the network alone."""
