"""The sections of all plasticity methods by name. Free of jax."""

from __future__ import annotations

from knife_jax.config.anchoring import EwcConfig, L2TaskConfig, MasConfig
from knife_jax.config.grafting import InjectionConfig, KnifeConfig, NoneConfig, WiderConfig
from knife_jax.config.plasticity import PlasticityConfig
from knife_jax.config.recycling import (
    CbpConfig,
    PruningConfig,
    ReBornConfig,
    ReDoConfig,
    ReGraMaConfig,
    ReverseReDoConfig,
    SnrConfig,
)
from knife_jax.config.resets import (
    L2InitConfig,
    LayerNormConfig,
    MarrConfig,
    NapConfig,
    ResetFullConfig,
    ResetLastConfig,
    RestartOptimiserConfig,
    ShrinkPerturbConfig,
)

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
    "restart_optimiser": RestartOptimiserConfig,
    "shrink_perturb": ShrinkPerturbConfig,
    "marr": MarrConfig,
    "cbp": CbpConfig,
    "snr": SnrConfig,
    "l2_init": L2InitConfig,
    "nap": NapConfig,
    "l2_task": L2TaskConfig,
    "ewc": EwcConfig,
    "mas": MasConfig,
    "layer_norm": LayerNormConfig,
    "wider": WiderConfig,
}
"""``plasticity.method`` -> its section; ``plasticity.METHODS`` has the factories. One's own method
is an entry in both."""
