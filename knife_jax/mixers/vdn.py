"""Value decomposition networks (Sunehag et al. 2018): the team value is a sum."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from knife_jax.mixers.base import MixerOptions
from knife_jax.nets.wiring import Wiring


class VDNMixer(nn.Module):
    """Q_tot = Σ_i Q_i, which is monotonic with ∂Q_tot/∂Q_i = 1. It has no weights."""

    options: MixerOptions
    needs: ClassVar[tuple[str, ...]] = ()

    def __call__(self, values: Float[Array, "T B N"]) -> Float[Array, "T B"]:
        return jnp.sum(values, axis=-1)

    def wiring(self) -> Wiring:
        """No neurons."""
        return ()
