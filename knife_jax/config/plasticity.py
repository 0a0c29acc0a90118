"""The section ``plasticity`` of a configuration: each method has its own fields and no others.

Fields other than ``name``, ``method`` and those of ``ScheduledConfig`` and ``ScopedConfig`` are
the keyword arguments of the method's factory in ``plasticity.methods``. Free of jax.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from knife_jax.config.schema import (
    ConfigError,
    Count,
    Few,
    Fraction,
    Positive,
    Section,
    Share,
    Size,
    StepsOrZero,
    choice,
    word,
)

WINDOW = "updates over which activity is averaged"
Scope = Annotated[str, choice("agent", "mixer", "all"), "which networks are operated on"]
Threshold = Annotated[Positive, "share of the layer's mean that makes a neuron one to operate on"]


def refuse(wrong: bool, said: str, allowed: str) -> None:
    """Raise ``ConfigError`` where fields do not fit together."""
    if wrong:
        raise ConfigError(f"plasticity.{said} is refused: must be {allowed}")


@dataclass(frozen=True, kw_only=True)
class PlasticityConfig(Section):
    """What every method has."""

    section: ClassVar[str] = "plasticity"
    name: Annotated[str, word(), "label"]
    method: Annotated[str, "label"]
    layer_norm: ClassVar[bool] = False
    """whether hidden layers are normalised before their nonlinearity"""

    @property
    def graft_slots(self) -> int:
        """Graft slots that every operable neuron has."""
        return 0

    @property
    def own_outgoing(self) -> bool:
        """Whether grafts have outgoing weights of their own."""
        return False


@dataclass(frozen=True, kw_only=True)
class NoneConfig(PlasticityConfig):
    """No surgery; what the log calls stagnant."""

    name: Annotated[str, word(), "label"] = "none"
    method: Annotated[str, choice("none"), "label"] = "none"
    threshold: Annotated[Positive, "stagnant below this share of the layer's mean activity"] = 0.25
    window: Annotated[Count, WINDOW] = 200


@dataclass(frozen=True, kw_only=True)
class ScheduledConfig(PlasticityConfig):
    """Surgery at intervals and at task switches."""

    interval: Annotated[StepsOrZero, "env steps between surgeries; 0 = never"] = 0
    at_task_switch: Annotated[bool, "operate whenever the task changes"] = True


@dataclass(frozen=True, kw_only=True)
class ScopedConfig(ScheduledConfig):
    """The same, on the agents' network, the mixer or both."""

    scope: Scope = "all"


@dataclass(frozen=True, kw_only=True)
class KnifeConfig(ScopedConfig):
    """Stagnant neurons are grafted."""

    method: Annotated[str, choice("knife"), "label"] = "knife"
    select: Annotated[
        str, choice("stagnant", "random"), "stagnant neurons, or as many at random"
    ] = "stagnant"
    threshold: Annotated[Positive, "stagnant below this share of the layer's mean activity"] = 0.25
    slots: Annotated[Few, "surgeries that one neuron can take"] = 2
    window: Annotated[Count, WINDOW] = 200
    cap: Annotated[Share, "largest share of a layer in one surgery"] = 0.5
    maturity: Annotated[
        Count | None, "updates a neuron is measured for before its next surgery; null = window"
    ] = None
    measure: Annotated[
        str,
        choice("running", "pre_switch", "post_switch"),
        "whether a task switch restarts the average, after or before the surgery it calls for",
    ] = "running"
    out_mode: Annotated[
        str,
        choice("shared", "fresh"),
        "new neurons use the old outgoing weights, or their own",
    ] = "shared"

    @property
    def graft_slots(self) -> int:
        return self.slots

    @property
    def own_outgoing(self) -> bool:
        return self.out_mode == "fresh"


@dataclass(frozen=True, kw_only=True)
class InjectionConfig(PlasticityConfig):
    """Everyone is grafted, once."""

    method: Annotated[str, choice("plasticity_injection"), "label"] = "plasticity_injection"
    scope: Scope = "all"
    at: Annotated[StepsOrZero, "env steps before the injection"]

    @property
    def graft_slots(self) -> int:
        return 1


@dataclass(frozen=True, kw_only=True)
class ThresholdConfig(ScopedConfig):
    """The same, on neurons on one side of a threshold."""

    threshold: Threshold
    window: Annotated[Count, WINDOW] = 20


@dataclass(frozen=True, kw_only=True)
class ReDoConfig(ThresholdConfig):
    """Dormant neurons are recycled."""

    method: Annotated[str, choice("redo"), "label"] = "redo"
    threshold: Threshold = 0.1


@dataclass(frozen=True, kw_only=True)
class ReverseReDoConfig(ThresholdConfig):
    """Over-active neurons are recycled."""

    method: Annotated[str, choice("reverse_redo"), "label"] = "reverse_redo"
    threshold: Threshold = 3.0


@dataclass(frozen=True, kw_only=True)
class PruningConfig(ThresholdConfig):
    """Dormant neurons are removed."""

    method: Annotated[str, choice("pruning"), "label"] = "pruning"
    threshold: Threshold = 0.1


@dataclass(frozen=True, kw_only=True)
class ReBornConfig(ScopedConfig):
    """Over-active neurons share their weights with dormant ones."""

    method: Annotated[str, choice("reborn"), "label"] = "reborn"
    alpha: Annotated[Positive, "dormant up to this share of the layer's mean activation"] = 0.1
    beta: Annotated[Positive, "over-active from this share of the layer's mean activation"] = 3.0
    window: Annotated[Count, WINDOW] = 20
    form: Annotated[
        str, choice("paper", "code"), "as published, or as released (last mixing layer alone)"
    ] = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse(self.alpha >= self.beta, f"alpha={self.alpha}", f"below beta={self.beta}")
        agent = self.form == "code" and self.scope == "agent"
        refuse(agent, "form=code", "paper with scope=agent: it operates on the mixer alone")


@dataclass(frozen=True, kw_only=True)
class ReGraMaConfig(ThresholdConfig):
    """Neurons with small gradients are recycled."""

    method: Annotated[str, choice("regrama"), "label"] = "regrama"
    threshold: Threshold = 0.01


@dataclass(frozen=True, kw_only=True)
class ResetLastConfig(ScopedConfig):
    """Last layers are drawn anew."""

    method: Annotated[str, choice("reset_last"), "label"] = "reset_last"


@dataclass(frozen=True, kw_only=True)
class ResetFullConfig(ScheduledConfig):
    """Networks and optimiser start again."""

    method: Annotated[str, choice("reset_full"), "label"] = "reset_full"


@dataclass(frozen=True, kw_only=True)
class ShrinkPerturbConfig(ScopedConfig):
    """All weights are blended with fresh ones."""

    method: Annotated[str, choice("shrink_perturb"), "label"] = "shrink_perturb"
    share: Annotated[Share, "share of the old weights that is kept"] = 0.8


@dataclass(frozen=True, kw_only=True)
class MarrConfig(ScopedConfig):
    """All weights go back towards their initial values; observations are scaled."""

    method: Annotated[str, choice("marr"), "label"] = "marr"
    share: Annotated[Share, "share of the old weights that is kept"] = 0.8
    amplitude: Annotated[Fraction, "observations are scaled by up to this share"] = 0.2


@dataclass(frozen=True, kw_only=True)
class CbpConfig(PlasticityConfig):
    """Neurons of low utility are recycled, a few at every update."""

    method: Annotated[str, choice("cbp"), "label"] = "cbp"
    scope: Scope = "all"
    rate: Annotated[Share, "share of the mature neurons recycled per update"] = 1e-4
    maturity: Annotated[Size, "updates before a neuron can be recycled"] = 100
    decay: Annotated[Fraction, "of the running utility"] = 0.99


@dataclass(frozen=True, kw_only=True)
class SnrConfig(PlasticityConfig):
    """Neurons that are silent for longer than is usual for them are recycled."""

    method: Annotated[str, choice("snr"), "label"] = "snr"
    scope: Scope = "all"
    percentile: Annotated[Share, "of a neuron's own gaps that is its limit"] = 0.99
    limit: Annotated[Count, "silent updates that are too many, at first"] = 100
    refresh: Annotated[Count, "updates between new limits"] = 500
    longest: Annotated[Count, "largest limit, in updates"] = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse(self.limit > self.longest, f"limit={self.limit}", f"at most longest={self.longest}")


@dataclass(frozen=True, kw_only=True)
class L2InitConfig(PlasticityConfig):
    """Weights are pulled towards their initial values."""

    method: Annotated[str, choice("l2_init"), "label"] = "l2_init"
    strength: Annotated[Positive, "weight of the squared distance in the loss"] = 1e-3


@dataclass(frozen=True, kw_only=True)
class LayerNormConfig(PlasticityConfig):
    """Hidden layers are normalised."""

    method: Annotated[str, choice("layer_norm"), "label"] = "layer_norm"
    layer_norm: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class NapConfig(PlasticityConfig):
    """Hidden layers are normalised and kernels keep their norm."""

    method: Annotated[str, choice("nap"), "label"] = "nap"
    layer_norm: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class WiderConfig(PlasticityConfig):
    """No surgery on networks as large as KNIFE's."""

    method: Annotated[str, choice("wider"), "label"] = "wider"
    slots: Annotated[Few, "of the KNIFE that it has as many parameters as"] = 2


PLASTICITIES: dict[str, type[PlasticityConfig]] = {
    "none": NoneConfig,
    "knife": KnifeConfig,
    "plasticity_injection": InjectionConfig,
    "redo": ReDoConfig,
    "reverse_redo": ReverseReDoConfig,
    "pruning": PruningConfig,
    "reborn": ReBornConfig,
    "regrama": ReGraMaConfig,
    "reset_last": ResetLastConfig,
    "reset_full": ResetFullConfig,
    "shrink_perturb": ShrinkPerturbConfig,
    "marr": MarrConfig,
    "cbp": CbpConfig,
    "snr": SnrConfig,
    "l2_init": L2InitConfig,
    "nap": NapConfig,
    "layer_norm": LayerNormConfig,
    "wider": WiderConfig,
}
"""``plasticity.method`` -> its section; ``plasticity.methods`` has the factories."""
