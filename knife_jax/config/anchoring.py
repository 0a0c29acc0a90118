"""Sections of the methods that hold weights where earlier tasks left them. Free of jax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from knife_jax.config.plasticity import PlasticityConfig, Scheduled
from knife_jax.config.schema import Fraction, Positive, choice


@dataclass(frozen=True, kw_only=True)
class L2TaskConfig(Scheduled, PlasticityConfig):
    """Weights are pulled towards those at the end of the last task."""

    method: Annotated[str, choice("l2_task"), "label"] = "l2_task"
    strength: Annotated[Positive, "weight of the squared distance in the loss"] = 1e-3


@dataclass(frozen=True, kw_only=True)
class EwcConfig(Scheduled, PlasticityConfig):
    """Weights are pulled back, by how much the loss of earlier tasks depends on each."""

    method: Annotated[str, choice("ewc"), "label"] = "ewc"
    strength: Annotated[Positive, "weight of the distance in the loss, times 2"] = 100.0
    decay: Annotated[Fraction, "fraction of the earlier importance that is kept"] = 0.9


@dataclass(frozen=True, kw_only=True)
class MasConfig(Scheduled, PlasticityConfig):
    """Weights are pulled back, by how much the values of earlier tasks depend on each."""

    method: Annotated[str, choice("mas"), "label"] = "mas"
    strength: Annotated[Positive, "weight of the distance in the loss"] = 1.0
