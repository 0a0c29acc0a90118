"""Train with a mixer of your own: a sum of the agents' values whose weights depend on the state.

    python experiments/examples/own_mixer.py [FIELD=VALUE ...]

An entry of ``MIXERS`` makes it known. What ``algo=weighted`` stands for is in
``configs/algo/weighted.yaml``.
"""

import sys
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn

import knife_jax
from knife_jax import mixers
from knife_jax.nets.wiring import NeuronGroup


class WeightedMixer(nn.Module):
    """Q_tot = Σ_i |w_i(s)| Q_i + b(s), with linear w and b: monotonic, so that IGM holds."""

    options: mixers.MixerOptions
    needs: ClassVar[tuple[str, ...]] = ("state",)  # or max_values, action: see mixers.INPUTS

    @nn.compact
    def __call__(self, values, state):
        """Return Q_tot [T, B] of the agents' values [T, B, N] and the state [T, B, D]."""
        weights = jnp.abs(self.dense("weights", self.options.n_agents, state))
        return jnp.sum(weights * values, axis=-1) + self.dense("bias", 1, state)[..., 0]

    def dense(self, name, width, x):
        init = self.options.init
        layer = nn.Dense(width, kernel_init=init.dense, bias_init=init.bias(x.shape[-1]), name=name)
        return layer(x)

    def wiring(self):
        """Every dense layer, so that its neurons are measured; linear ones are not operated on."""
        init, widths = self.options.init, {"weights": self.options.n_agents, "bias": 1}
        return tuple(
            NeuronGroup(f"mixer/{name}", width, init.columns, (), "linear", init.bias)
            for name, width in widths.items()
        )


mixers.MIXERS["weighted"] = f"{__name__}:WeightedMixer"

if __name__ == "__main__":
    words = (
        "env=matrix_game",
        "algo=weighted_knife",
        "env_steps=20_000",
        "plasticity.interval=5_000",
    )
    config = knife_jax.compose(*words, *sys.argv[1:], config_dir=Path(__file__).parent / "configs")
    knife_jax.train(config)
