"""DMIX (Sun et al. 2021): QMIX on the means of return distributions (DFAC)."""

from __future__ import annotations

from typing import ClassVar

from flax import linen as nn
from jaxtyping import Array, Float

from knife_jax.mixers.base import INPUTS, Estimates, Factorisation, Goals, Joint, MixerOptions
from knife_jax.mixers.layers import Monotonic
from knife_jax.mixers.quantiles import Quantiles, quantile_huber
from knife_jax.nets.wiring import Wiring


class DMixer(nn.Module):
    """Z_tot(τ) = QMIX(E Z_1, …, E Z_N; s) + Σ_i [Z_i(τ) - E Z_i], with E the mean over the levels
    (eq. 12-13): its mean is QMIX's value, its shape comes from the sum."""

    options: MixerOptions
    positive: str = "abs"
    needs: ClassVar[tuple[str, ...]] = ("state", "samples")

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "T B N"],
        state: Float[Array, "T B D"],
        samples: Float[Array, "T B N K"],
    ) -> Float[Array, "T B K"]:
        mean = Monotonic(self.options, self.positive)(values, state)
        return mean[..., None] + (samples - values[..., None]).sum(axis=2)

    def wiring(self) -> Wiring:
        """Every dense layer."""
        return Monotonic(self.options, self.positive).wiring()


def dmix(
    options: MixerOptions,
    *,
    positive: str = "abs",
    samples: int = 8,
    acting: int = 32,
    acting_levels: str = "even",
) -> Factorisation:
    """Make DMIX: agents with ``QuantileHead``, and the quantile Huber error of Z_tot, summed over
    the ``samples`` quantiles that are learnt at each step.

    Actions are chosen by the mean of ``acting`` evenly spaced quantiles, or, while exploring, by
    that of as many random ones (``acting_levels="random"``), as in the released code, which draws
    them in evaluations too.
    """

    def error(estimates: Estimates, goals: Goals, joint: Joint) -> Float[Array, "T B"]:
        levels = INPUTS["levels"](joint)
        return samples * quantile_huber(estimates["q_tot"], levels, goals.returns["q_tot"])

    head = Quantiles(samples, acting, acting_levels == "random")
    return Factorisation(DMixer(options, positive), head=head, error=error)
