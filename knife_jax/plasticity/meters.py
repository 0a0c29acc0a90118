"""What to measure."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from knife_jax.nets.wiring import Wiring, layer
from knife_jax.plasticity.base import Chosen, Meter, PerNeuron, Probes, relative
from knife_jax.types import PyTree

EPS = 1e-12


class Running(NamedTuple):
    """A running mean per neuron and how many steps it has seen."""

    mean: Float[Array, "W"]
    age: Int[Array, "W"]


def relative_update_activity(wiring: Wiring, window: int) -> Meter:
    """KNIFE's stagnation measure.

    UA_i = ‖g_i‖ / (‖w_i‖ + ε) per gradient step; its running mean is the plain mean over a
    neuron's first ``window`` steps since it was last operated on and an exponential mean with
    that time constant afterwards; RUA_i is the running mean over its mean in the layer. A neuron
    is mature once it has been measured for one full window.
    """

    def init():
        return {g.name: Running(jnp.zeros(g.width), jnp.zeros(g.width, jnp.int32)) for g in wiring}

    def update(state, probes: Probes):
        def step(name: str, running: Running) -> Running:
            activity = probes.gradient[name] / (probes.weight[name] + EPS)
            age = running.age + 1
            rate = jnp.maximum(1.0 / age, 1.0 / window)
            return Running(running.mean + rate * (activity - running.mean), age)

        return {name: step(name, running) for name, running in state.items()}

    def forget(state, chosen: Chosen):
        return {
            name: Running(
                jnp.where(chosen[name], 0.0, running.mean),
                jnp.where(chosen[name], 0, running.age),
            )
            for name, running in state.items()
        }

    return Meter(
        init=init,
        update=update,
        scores=lambda state: {name: relative(r.mean) for name, r in state.items()},
        mature=lambda state: {name: r.age >= window for name, r in state.items()},
        forget=forget,
    )


def probe(wiring: Wiring, params: PyTree, grads: PyTree, activation: PerNeuron) -> Probes:
    """The probes of one gradient step."""

    def norms(tree: PyTree) -> PerNeuron:
        return {g.name: jnp.linalg.norm(layer(tree, g)["kernel"], axis=0) for g in wiring}

    return Probes(activation=activation, gradient=norms(grads), weight=norms(params))


def share_below(scores: PerNeuron, threshold: float) -> Float[Array, ""]:
    """The percentage of all neurons whose score is below the threshold."""
    every = jnp.concatenate(jax.tree.leaves(dict(scores)))
    return 100.0 * jnp.mean(every < threshold)
