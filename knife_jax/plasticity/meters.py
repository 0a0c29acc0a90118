"""What to measure: running means of neuron statistics, relative to their layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from knife_jax.checks import checked
from knife_jax.config.schema import Count
from knife_jax.nets.wiring import Wiring
from knife_jax.plasticity.base import Chosen, Meter, NeuronStats, PerNeuron
from knife_jax.plasticity.stats import layer_means
from knife_jax.types import Flat

EPS = 1e-12


def relative(values: PerNeuron) -> PerNeuron:
    """Divide values by their means in the layers; all 0 if a layer as a whole has collapsed.

    A layer whose mean is 0 or not finite has no neuron that is better than another, so every
    one of them counts as lost rather than none (0/0 would hide a total collapse).
    """
    flat, mean = Flat.of(values), layer_means(values)
    alive = jnp.isfinite(mean) & (mean > 0)
    scores = jnp.where(alive, flat.numbers / jnp.where(alive, mean, 1.0), 0.0)
    return flat.replace(numbers=scores).tree


class Running(NamedTuple):
    """A running mean per neuron and how many steps it has seen, of all groups together."""

    mean: Flat
    """trees of {group: Float[W]}"""
    age: Flat
    """trees of {group: Int[W]}"""


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
        zeros = {group.name: jnp.zeros(group.width) for group in wiring}
        ages = {name: z.astype(jnp.int32) for name, z in zeros.items()}
        return Running(Flat.of(zeros), Flat.of(ages))

    def update(state: Running, stats: NeuronStats) -> Running:
        now = Flat.of({group.name: value(stats, group.name) for group in wiring})
        age = state.age.numbers + 1
        rate = jnp.maximum(1.0 / age, 1.0 / window)
        mean = state.mean.numbers + rate * (now.numbers - state.mean.numbers)
        return Running(state.mean.replace(numbers=mean), state.age.replace(numbers=age))

    def forget(state: Running, chosen: Chosen) -> Running:
        gone = Flat.of({group.name: chosen[group.name] for group in wiring}).numbers
        return jax.tree.map(lambda leaf: jnp.where(gone, jnp.zeros_like(leaf), leaf), state)

    return Meter(
        init=init,
        update=update,
        scores=lambda state: relative(state.mean.tree),
        mature=lambda state: {name: age >= needed for name, age in state.age.tree.items()},
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
def relative_gradient(wiring: Wiring, window: Count) -> Meter:
    """Measure mean ‖g_i‖ over layer mean: update activity without its division by ‖w_i‖."""
    return running(wiring, window, lambda p, name: p.gradient[name])


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


class Ordered(NamedTuple):
    """Scores that say how many neurons are selected, and others that say which."""

    scores: PerNeuron
    order: PerNeuron


@checked
def ordered_by(meter: Meter, other: Meter) -> Meter:
    """Measure two things of every neuron, for ``as_many``.

    Args:
      meter: By its scores the number of neurons is decided.
      other: By its scores they are put in order; it measures the same groups.

    Returns:
      The meter of both, whose scores are ``Ordered`` and whose state is (that of ``other``, that of
      ``meter``). A neuron is mature if it is so for both.
    """

    def mature(state):
        theirs = other.mature(state[0])
        return {name: ours & theirs[name] for name, ours in meter.mature(state[1]).items()}

    return Meter(
        init=lambda: (other.init(), meter.init()),
        update=lambda state, stats: (other.update(state[0], stats), meter.update(state[1], stats)),
        scores=lambda state: Ordered(meter.scores(state[1]), other.scores(state[0])),
        mature=mature,
        forget=lambda state, chosen: (
            other.forget(state[0], chosen),
            meter.forget(state[1], chosen),
        ),
    )


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
