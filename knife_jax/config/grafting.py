"""Sections of KNIFE, of its relatives and of its controls. Free of jax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from knife_jax.config.plasticity import (
    NetworkOptions,
    Once,
    PlasticityConfig,
    Scheduled,
    Scoped,
    Stagnant,
)
from knife_jax.config.schema import Count, Few, PositiveFraction, choice, word

Selection = Annotated[str, choice("stagnant", "random", "dormant", "gradient", "active")]
Rewriting = Annotated[str, choice("graft", "recycle")]
Measure = Annotated[str, choice("running", "pre_switch", "post_switch")]
OutMode = Annotated[str, choice("shared", "fresh")]


@dataclass(frozen=True, kw_only=True)
class NoneConfig(Stagnant, PlasticityConfig):
    """No surgery. Its fields define the stagnation that is logged."""

    name: Annotated[str, word(), "label"] = "none"
    method: Annotated[str, choice("none"), "label"] = "none"

    def arguments(self) -> dict[str, Any]:
        """Nothing: what is measured is for the log alone."""
        return {}


@dataclass(frozen=True, kw_only=True)
class KnifeConfig(Stagnant, Scoped, Scheduled, PlasticityConfig):
    """Stagnant neurons are grafted."""

    method: Annotated[str, choice("knife"), "label"] = "knife"
    select: Annotated[
        Selection,
        "stagnant neurons; or as many at random, or with the lowest activation, the smallest "
        "gradients or the highest activation",
    ] = "stagnant"
    slots: Annotated[Few, "surgeries that one neuron can take"] = 2
    cap: Annotated[PositiveFraction, "largest fraction of a layer in one surgery"] = 0.5
    maturity: Annotated[
        Count | None, "updates a neuron is measured for before its next surgery; null = window"
    ] = None
    measure: Annotated[
        Measure,
        "whether a task switch restarts the average, after or before the surgery it calls for",
    ] = "post_switch"
    out_mode: Annotated[OutMode, "new neurons use the old outgoing weights, or their own"] = (
        "shared"
    )
    rewrite: Annotated[
        Rewriting, "neurons are grafted; or recycled as by ReDo, whatever slots and out_mode are"
    ] = "graft"

    def networks(self) -> NetworkOptions:
        """Slots, and outgoing weights if they are the grafts' own; none if nothing is grafted."""
        if self.rewrite == "recycle":
            return NetworkOptions()
        return NetworkOptions(self.slots, own_outgoing=self.out_mode == "fresh")


@dataclass(frozen=True, kw_only=True)
class InjectionConfig(Scoped, Once, PlasticityConfig):
    """All hidden neurons are grafted, once."""

    method: Annotated[str, choice("plasticity_injection"), "label"] = "plasticity_injection"

    def networks(self) -> NetworkOptions:
        """One slot."""
        return NetworkOptions(slots=1)


@dataclass(frozen=True, kw_only=True)
class WiderConfig(PlasticityConfig):
    """No surgery on networks as large as KNIFE's."""

    method: Annotated[str, choice("wider"), "label"] = "wider"
    slots: Annotated[Few, "of the KNIFE that it has as many parameters as"] = KnifeConfig.slots
