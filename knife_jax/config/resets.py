"""Sections of the methods that reset, pull or normalise whole layers. Free of jax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from knife_jax.config.plasticity import NetworkOptions, PlasticityConfig, Scheduled, Scoped
from knife_jax.config.schema import Fraction, Positive, PositiveFraction, choice

Kept = Annotated[PositiveFraction, "fraction of the old weights that is kept"]


@dataclass(frozen=True, kw_only=True)
class ResetLastConfig(Scoped, Scheduled, PlasticityConfig):
    """Last layers are drawn anew."""

    method: Annotated[str, choice("reset_last"), "label"] = "reset_last"


@dataclass(frozen=True, kw_only=True)
class ResetFullConfig(Scheduled, PlasticityConfig):
    """Networks and optimiser start again."""

    method: Annotated[str, choice("reset_full"), "label"] = "reset_full"


@dataclass(frozen=True, kw_only=True)
class RestartOptimiserConfig(Scheduled, PlasticityConfig):
    """The optimiser alone starts again."""

    method: Annotated[str, choice("restart_optimiser"), "label"] = "restart_optimiser"


@dataclass(frozen=True, kw_only=True)
class ShrinkPerturbConfig(Scoped, Scheduled, PlasticityConfig):
    """All weights are blended with fresh ones."""

    method: Annotated[str, choice("shrink_perturb"), "label"] = "shrink_perturb"
    share: Kept = 0.8


@dataclass(frozen=True, kw_only=True)
class MarrConfig(Scoped, Scheduled, PlasticityConfig):
    """All weights go back towards their initial values; observations are scaled."""

    method: Annotated[str, choice("marr"), "label"] = "marr"
    share: Kept = 0.8
    amplitude: Annotated[Fraction, "observations are scaled by up to this fraction"] = 0.2


@dataclass(frozen=True, kw_only=True)
class L2InitConfig(PlasticityConfig):
    """Weights are pulled towards their initial values."""

    method: Annotated[str, choice("l2_init"), "label"] = "l2_init"
    strength: Annotated[Positive, "weight of the squared distance in the loss"] = 1e-3


@dataclass(frozen=True, kw_only=True)
class LayerNormConfig(PlasticityConfig):
    """Hidden layers are normalised."""

    method: Annotated[str, choice("layer_norm"), "label"] = "layer_norm"

    def networks(self) -> NetworkOptions:
        """Layer normalisation."""
        return NetworkOptions(layer_norm=True)


@dataclass(frozen=True, kw_only=True)
class NapConfig(PlasticityConfig):
    """Hidden layers are normalised and kernels keep their norm."""

    method: Annotated[str, choice("nap"), "label"] = "nap"

    def networks(self) -> NetworkOptions:
        """Layer normalisation."""
        return NetworkOptions(layer_norm=True)
