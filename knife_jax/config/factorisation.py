"""The sections of algorithms whose mixers have fields of their own. Free of jax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from knife_jax.config.algo import AlgoConfig
from knife_jax.config.schema import (
    ConfigError,
    Count,
    Few,
    NotNegative,
    PositiveFraction,
    choice,
)


@dataclass(frozen=True, kw_only=True)
class MonotonicConfig(AlgoConfig):
    """A mixer with QMIX's network."""

    positive: Annotated[
        str,
        choice("abs", "softplus", "square"),
        "what makes its generated weights positive: |w|, as published, or w² / 2, as in PyMARL2",
    ] = "abs"


@dataclass(frozen=True, kw_only=True)
class QplexConfig(AlgoConfig):
    """The attention of QPLEX: 4 heads of 2 layers in PyMARL2 and ReBorn, 4 of 1 in its own code for
    SMAC, 10 of 3 there for matrix games."""

    heads: Annotated[Few, "of the attention"] = 4
    layers: Annotated[Few, "of each network of a head, the last included"] = 2


CENTRAL = "width of the unrestricted networks"


@dataclass(frozen=True, kw_only=True)
class WqmixConfig(MonotonicConfig):
    """Weighted QMIX."""

    weighting: Annotated[
        str, choice("ow", "cw"), "optimistically, or centrally: what does not weigh 1"
    ] = "cw"
    alpha: Annotated[PositiveFraction, "weighs so much"] = 0.1
    central: Annotated[Count, CENTRAL] = 256


@dataclass(frozen=True, kw_only=True)
class ResqConfig(MonotonicConfig):
    """ResQ."""

    central: Annotated[Count, CENTRAL] = 128


@dataclass(frozen=True, kw_only=True)
class DmixConfig(MonotonicConfig):
    """DMIX."""

    samples: Annotated[Count, "quantiles learnt at each step, and as many of the target"] = 8
    acting: Annotated[Count, "quantiles whose mean actions are chosen by"] = 32
    acting_levels: Annotated[
        str,
        choice("even", "random"),
        "which: evenly spaced, or in exploration drawn at each step, as in DFAC's code",
    ] = "even"


@dataclass(frozen=True, kw_only=True)
class RmixConfig(MonotonicConfig):
    """RMIX."""

    atoms: Annotated[Count, "quantiles of each return"] = 100
    risk_levels: Annotated[Count, "risk levels that an agent chooses among: 1/n, 2/n, …, 1"] = 10
    quantile_weight: Annotated[NotNegative, "of the error of the agents' own returns"] = 0.1
    form: Annotated[
        str,
        choice("paper", "code"),
        "as published, or as ReBorn's code has it: returns learnt from the value in place of the "
        "reward, and CVaRs that are sums of n atoms over n - 1",
    ] = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form == "code" and self.atoms <= self.risk_levels:
            raise ConfigError(
                f"algo.atoms={self.atoms} is refused: must be more than "
                f"algo.risk_levels={self.risk_levels} with algo.form=code, "
                "which divides by one atom less"
            )


ALGOS: dict[str, type[AlgoConfig]] = {
    "qmix": MonotonicConfig,
    "qplex": QplexConfig,
    "wqmix": WqmixConfig,
    "resq": ResqConfig,
    "dmix": DmixConfig,
    "rmix": RmixConfig,
}
"""``algo.mixer`` -> its section, if ``AlgoConfig`` lacks a field of it. One's own is added like an
entry of ``MIXERS``."""
