"""Sections of the methods that rewrite single neurons in place. Free of jax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from knife_jax.config.plasticity import WINDOW, PlasticityConfig, Scheduled, Scoped, refuse
from knife_jax.config.schema import Count, Fraction, Positive, PositiveFraction, Size, choice

Form = Annotated[str, choice("paper", "code")]
Threshold = Annotated[
    Positive, "fraction of the layer's mean that makes a neuron one to operate on"
]


@dataclass(frozen=True, kw_only=True)
class ReDoConfig(Scoped, Scheduled, PlasticityConfig):
    """Dormant neurons are recycled."""

    method: Annotated[str, choice("redo"), "label"] = "redo"
    threshold: Threshold = 0.1
    window: Annotated[Count, WINDOW] = 20


@dataclass(frozen=True, kw_only=True)
class ReverseReDoConfig(Scoped, Scheduled, PlasticityConfig):
    """Over-active neurons are recycled."""

    method: Annotated[str, choice("reverse_redo"), "label"] = "reverse_redo"
    threshold: Threshold = 3.0
    window: Annotated[Count, WINDOW] = 20


@dataclass(frozen=True, kw_only=True)
class PruningConfig(Scoped, Scheduled, PlasticityConfig):
    """Dormant neurons are removed."""

    method: Annotated[str, choice("pruning"), "label"] = "pruning"
    threshold: Threshold = 0.1
    window: Annotated[Count, WINDOW] = 20


@dataclass(frozen=True, kw_only=True)
class ReGraMaConfig(Scoped, Scheduled, PlasticityConfig):
    """Neurons with small gradients are recycled."""

    method: Annotated[str, choice("regrama"), "label"] = "regrama"
    threshold: Threshold = 0.01
    window: Annotated[Count, WINDOW] = 20


@dataclass(frozen=True, kw_only=True)
class ReBornConfig(Scoped, Scheduled, PlasticityConfig):
    """Over-active neurons share their weights with dormant ones."""

    method: Annotated[str, choice("reborn"), "label"] = "reborn"
    alpha: Annotated[Positive, "dormant up to this fraction of the layer's mean activation"] = 0.1
    beta: Annotated[Positive, "over-active from this fraction of the layer's mean activation"] = 3.0
    window: Annotated[Count, WINDOW] = 20
    form: Annotated[Form, "as published, or as released (last mixing layer alone)"] = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse(self.alpha >= self.beta, f"alpha={self.alpha}", f"below beta={self.beta}")
        agent = self.form == "code" and self.scope == "agent"
        refuse(agent, "form=code", "paper with scope=agent: it operates on the mixer alone")


@dataclass(frozen=True, kw_only=True)
class CbpConfig(Scoped, PlasticityConfig):
    """Neurons of low utility are recycled, a few at every update."""

    method: Annotated[str, choice("cbp"), "label"] = "cbp"
    rate: Annotated[PositiveFraction, "fraction of the mature neurons recycled per update"] = 1e-4
    maturity: Annotated[Size, "updates before a neuron can be recycled"] = 100
    decay: Annotated[Fraction, "of the running utility"] = 0.99


@dataclass(frozen=True, kw_only=True)
class SnrConfig(Scoped, PlasticityConfig):
    """Neurons that are silent for longer than is usual for them are recycled."""

    method: Annotated[str, choice("snr"), "label"] = "snr"
    percentile: Annotated[PositiveFraction, "of a neuron's own gaps that is its limit"] = 0.99
    limit: Annotated[Count, "silent updates that are too many, at first"] = 100
    refresh: Annotated[Count, "updates between new limits"] = 500
    longest: Annotated[Count, "largest limit, in updates"] = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse(self.limit > self.longest, f"limit={self.limit}", f"at most longest={self.longest}")
