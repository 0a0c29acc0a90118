"""Independent Q-learning (Tan 1993): no team value is learnt."""

from __future__ import annotations

from typing import ClassVar

from flax import linen as nn
from jaxtyping import Array, Float

from knife_jax.mixers.base import MixerOptions
from knife_jax.nets.wiring import Wiring


class IQLMixer(nn.Module):
    """Each agent's value is an estimate of the team's return of its own, learnt from goals of its
    own: r + γ Q_i of its greedy action. Their mean, which stands for Q_tot in logs and tables, is
    monotonic. The error is averaged over agents."""

    options: MixerOptions
    needs: ClassVar[tuple[str, ...]] = ()

    def __call__(self, values: Float[Array, "T B N"]) -> Float[Array, "T B N"]:
        return values

    def wiring(self) -> Wiring:
        """No neurons."""
        return ()
