"""Weighted QMIX (Rashid et al. 2020): joint actions that look good count more, and Q* is learnt
beside."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from knife_jax.mixers.base import INPUTS, Estimates, Factorisation, Goals, Joint, MixerOptions
from knife_jax.mixers.layers import Monotonic, Unrestricted
from knife_jax.nets.wiring import Wiring


class WQMixer(nn.Module):
    """Q_tot as in QMIX, and Q*: an unrestricted network of the values of a critic."""

    options: MixerOptions
    positive: str = "abs"
    central: int = 256
    needs: ClassVar[tuple[str, ...]] = ("state", "star")

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "T B N"],
        state: Float[Array, "T B D"],
        star: Float[Array, "T B N"],
    ) -> Estimates:
        q_tot, q_star = self.parts()
        return {"q_tot": q_tot(values, state), "q_star": q_star(star, state)}

    def parts(self) -> tuple[Monotonic, Unrestricted]:
        """Return the networks of Q_tot and of Q*."""
        o = self.options
        return Monotonic(o, self.positive), Unrestricted(o, "star", self.central)

    def wiring(self) -> Wiring:
        """Every dense layer of both."""
        return tuple(group for part in self.parts() for group in part.wiring())


def wqmix(
    options: MixerOptions,
    *,
    weighting: str = "cw",
    alpha: float = 0.1,
    positive: str = "abs",
    central: int = 256,
) -> Factorisation:
    """Make OW-QMIX (``weighting="ow"``) or CW-QMIX (``"cw"``).

    With y = r + γ Q*^-(s', û'), û' being the greedy joint action of Q_tot, the error is
    w (Q_tot - y)² + (Q* - y)². A joint action has the weight w = 1 if Q_tot < y (OW, eq. 8), or if
    it is greedy or y > Q*^-(s, û) (CW, eq. 9); otherwise ``alpha``.
    """

    def error(estimates: Estimates, goals: Goals, joint: Joint) -> Float[Array, "T B"]:
        q_tot, goal = estimates["q_tot"], goals.returns["q_tot"]
        if weighting == "ow":
            counts = q_tot < goal
        else:
            counts = INPUTS["greedy"](joint) | (goal > goals.greedy["q_star"])
        weight = jax.lax.stop_gradient(jnp.where(counts, 1.0, alpha))
        wrong = weight * jnp.square(q_tot - goal)
        return wrong + jnp.square(estimates["q_star"] - goals.returns["q_star"])

    return Factorisation(WQMixer(options, positive, central), bootstrap="q_star", error=error)
