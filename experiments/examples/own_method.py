"""Train with a plasticity method of your own: recycle the least active neurons of each layer.

    python experiments/examples/own_method.py [FIELD=VALUE ...]

Two entries make it known: the factory in ``METHODS``, the section with its fields in
``PLASTICITIES``. What ``plasticity=lowest`` stands for is in ``configs/plasticity/lowest.yaml``.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax.numpy as jnp

import knife_jax
from knife_jax import plasticity as p
from knife_jax.config.methods import PLASTICITIES
from knife_jax.config.plasticity import WINDOW, PlasticityConfig, Scheduled, Scoped
from knife_jax.config.schema import Count, Fraction, choice


@dataclass(frozen=True, kw_only=True)
class LowestConfig(Scoped, Scheduled, PlasticityConfig):
    method: Annotated[str, choice("lowest"), "label"] = "lowest"
    fraction: Annotated[Fraction, "of each layer, recycled in one surgery"] = 0.1
    window: Annotated[Count, WINDOW] = 20


def at_bottom(fraction: float) -> p.Select:
    """Make a rule that selects a fraction of each layer: the allowed neurons with low scores."""

    def rule(scores, allowed, key):
        del key
        masked = {name: jnp.where(allowed[name], score, jnp.inf) for name, score in scores.items()}
        ranks = {name: jnp.argsort(jnp.argsort(score)) for name, score in masked.items()}
        return {name: allowed[name] & (r < fraction * r.size) for name, r in ranks.items()}

    return rule


def lowest(wiring, *, when, fraction=LowestConfig.fraction, window=LowestConfig.window):
    """Make the method: activation × lowest fraction × recycle × when."""
    groups = p.relu_groups(wiring)
    meter = p.relative_activation(groups, window)
    return p.surgery(groups, meter, at_bottom(fraction), p.recycle(groups), when)


p.METHODS["lowest"], PLASTICITIES["lowest"] = lowest, LowestConfig

if __name__ == "__main__":
    words = "env=matrix_game", "algo=qmix", "plasticity=lowest", "env_steps=20_000", *sys.argv[1:]
    config = knife_jax.compose(*words, config_dir=Path(__file__).parent / "configs")
    knife_jax.train(config)
