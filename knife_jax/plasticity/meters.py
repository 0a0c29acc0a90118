"""What to measure: running means of neuron statistics, relative to their layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from knife_jax.checks import checked
from knife_jax.config.schema import Count
from knife_jax.nets.wiring import Wiring
from knife_jax.plasticity.base import Chosen, Meter, NeuronStats

EPS = 1e-12


def relative(values: Float[Array, "W"]) -> Float[Array, "W"]:
    """Divide values by their mean in the layer; all 0 if the layer as a whole has collapsed.

    A layer whose mean is 0 or not finite has no neuron that is better than another, so every
    one of them counts as lost rather than none (0/0 would hide a total collapse).
    """
    mean = jnp.mean(values)
    alive = jnp.isfinite(mean) & (mean > 0)
    return jnp.where(alive, values / jnp.where(alive, mean, 1.0), 0.0)


class Running(NamedTuple):
    """A running mean per neuron and how many steps it has seen, in JAX or NumPy."""

    mean: Float[Any, "W"]
    age: Int[Any, "W"]


@checked
def running(
    wiring: Wiring,
    window: Count,
    value: Callable[[NeuronStats, str], Float[Array, "W"]],
    maturity: Count | None = None,
) -> Meter:
    """Measure the running mean of a statistic, relative to its mean in the layer.

    The plain mean over a neuron's first ``window`` steps since it was last operated on, and an
    exponential mean with that time constant afterwards.

    Args:
      wiring: The groups to measure.
      window: Updates that are averaged over.
      value: (statistics, group name) -> one number per neuron ``[W]``.
      maturity: Updates after which a neuron can be operated on; ``window`` if None.

    Returns:
      The meter. Its scores are 1 for a neuron like the mean of its layer.

    Example:
      >>> import jax.numpy as jnp
      >>> from knife_jax import plasticity as p
      >>> wiring = (p.NeuronGroup("hidden", 3, p.torch_init().columns),)
      >>> meter = p.running(wiring, 10, lambda stats, name: stats.activation[name])
      >>> stats = p.NeuronStats({"hidden": jnp.array([0.0, 1.0, 2.0])}, {}, {})
      >>> meter.scores(meter.update(meter.init(), stats))["hidden"].tolist()
      [0.0, 1.0, 2.0]
    """

    needed = window if maturity is None else maturity

    def init():
        return {g.name: Running(jnp.zeros(g.width), jnp.zeros(g.width, jnp.int32)) for g in wiring}

    def update(state, stats: NeuronStats):
        def step(name: str, running: Running) -> Running:
            age = running.age + 1
            rate = jnp.maximum(1.0 / age, 1.0 / window)
            return Running(running.mean + rate * (value(stats, name) - running.mean), age)

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
        mature=lambda state: {name: r.age >= needed for name, r in state.items()},
        forget=forget,
    )


@checked
def relative_update_activity(wiring: Wiring, window: Count, maturity: Count | None = None) -> Meter:
    """Measure relative update activity (RUA): UA_i = ‖g_i‖ / (‖w_i‖ + ε), over its layer mean.

    KNIFE's measure of stagnation (arXiv 2606.25335). Arguments as in ``running``.
    """
    activity = lambda p, name: p.gradient[name] / (p.weight[name] + EPS)  # noqa: E731
    return running(wiring, window, activity, maturity)


@checked
def relative_activation(wiring: Wiring, window: Count) -> Meter:
    """Measure dormancy and over-activity: mean |h_i| over layer mean (Sokar et al. 2023, eq. 1)."""
    return running(wiring, window, lambda p, name: p.activation[name])


@checked
def relative_sensitivity(wiring: Wiring, window: Count) -> Meter:
    """Measure mean |∂L/∂z_i| over layer mean: ReGraMa's measure (arXiv 2505.24061).

    A method with this meter needs ``Extras(needs=("sensitivity",))``.
    """
    return running(wiring, window, lambda p, name: p.sensitivity[name])


@checked
def unmeasured(wiring: Wiring) -> Meter:
    """Measure nothing: all neurons are mature. For methods that operate on all of them."""

    def zeros():
        return {g.name: jnp.zeros(g.width) for g in wiring}

    return Meter(
        init=dict,
        update=lambda state, stats: state,
        scores=lambda state: zeros(),
        mature=lambda state: {name: z == 0 for name, z in zeros().items()},
        forget=lambda state, chosen: state,
    )
