"""Value factorisation: how the agents' values become one team value, and how to add a mixer.

A mixer is a flax module (``Mixer``) made of ``MixerOptions``; it declares in ``needs`` what it gets
besides the values of the actions, and an entry of ``MIXERS`` gives it a name. With a head, further
estimates or an error of its own it is part of a ``Factorisation``; see ``base``. ::

    class Mean(nn.Module):
        options: MixerOptions
        needs: ClassVar[tuple[str, ...]] = ()

        def __call__(self, values):  # [T, B, N] -> [T, B]
            return jnp.mean(values, axis=-1)

        def wiring(self):
            return ()

    MIXERS["mean"] = "my_module:Mean"
"""

from knife_jax.config.mixers import MIXERS
from knife_jax.mixers.base import (
    CRITICS,
    INPUTS,
    Error,
    Estimates,
    Factorisation,
    Goals,
    Joint,
    Mixer,
    MixerOptions,
    squared,
)

__all__ = [
    "CRITICS", "INPUTS", "MIXERS", "Error", "Estimates", "Factorisation", "Goals", "Joint",
    "Mixer", "MixerOptions", "squared",
]  # fmt: skip
