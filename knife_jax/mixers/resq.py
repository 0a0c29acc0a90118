"""ResQ (Shen et al. 2022): a monotonic value, less a residual where an action is not greedy."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from knife_jax.mixers.base import Estimates, Factorisation, MixerOptions
from knife_jax.mixers.layers import Monotonic, Unrestricted
from knife_jax.nets.wiring import Wiring


class ResQMixer(nn.Module):
    """Q_tot = Q_main + w_r Q_r and, beside, Q*.

    Q_main is QMIX's network, Q_r ≤ 0 and Q* unrestricted networks of critics' values. w_r is 0 for
    the greedy joint action and 1 for all others, so that these can only be worse than Q_main says,
    which is IGM (section 4). Q_r is minus an absolute value wherever it is used; the released code
    has the sign in a penalty alone, and an unconstrained Q_r in the error.
    """

    options: MixerOptions
    positive: str = "abs"
    central: int = 128
    needs: ClassVar[tuple[str, ...]] = ("state", "greedy", "star", "residual")

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "T B N"],
        state: Float[Array, "T B D"],
        greedy: Bool[Array, "T B"],
        star: Float[Array, "T B N"],
        residual: Float[Array, "T B N"],
    ) -> Estimates:
        main, less, q_star = self.parts()
        loss = jnp.where(greedy, 0.0, jnp.abs(less(residual, state)))
        return {"q_tot": main(values, state) - loss, "q_star": q_star(star, state)}

    def parts(self) -> tuple[Monotonic, Unrestricted, Unrestricted]:
        """Return the networks of Q_main, Q_r and Q*."""
        o, width = self.options, self.central
        residual, star = (Unrestricted(o, name, width) for name in ("residual", "star"))
        return Monotonic(o, self.positive), residual, star

    def wiring(self) -> Wiring:
        """Every dense layer of all."""
        return tuple(group for part in self.parts() for group in part.wiring())


def resq(options: MixerOptions, *, positive: str = "abs", central: int = 128) -> Factorisation:
    """Make ResQ: Q_tot and Q* are both regressed on r + γ Q*^-(s', û'), û' being the greedy joint
    action."""
    return Factorisation(ResQMixer(options, positive, central), bootstrap="q_star")
