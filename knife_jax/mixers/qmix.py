"""QMIX (Rashid et al. 2018): a mixing network that is monotonic in every agent's value."""

from __future__ import annotations

from typing import ClassVar

from flax import linen as nn
from jaxtyping import Array, Float

from knife_jax.mixers.base import MixerOptions
from knife_jax.mixers.layers import Monotonic
from knife_jax.nets.wiring import Wiring


class QMixer(nn.Module):
    """Q_tot = the monotonic network of the agents' values, see ``Monotonic``."""

    options: MixerOptions
    positive: str = "abs"
    needs: ClassVar[tuple[str, ...]] = ("state",)

    @nn.compact
    def __call__(
        self, values: Float[Array, "T B N"], state: Float[Array, "T B D"]
    ) -> Float[Array, "T B"]:
        return Monotonic(self.options, self.positive)(values, state)

    def wiring(self) -> Wiring:
        """Every dense layer."""
        return Monotonic(self.options, self.positive).wiring()
