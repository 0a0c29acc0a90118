"""Methods that act at every update: continual backpropagation and self-normalised resets."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from knife_jax.checks import checked, refuse
from knife_jax.clock import Clock, every_updates
from knife_jax.config.recycling import CbpConfig, SnrConfig
from knife_jax.config.schema import Count, Fraction, PositiveFraction, Size
from knife_jax.nets.wiring import Wiring, at, check, relu_groups, some
from knife_jax.plasticity.base import Claims, Extras, NeuronStats, PlasticityTransform
from knife_jax.plasticity.combine import operated
from knife_jax.plasticity.edits import absorb
from knife_jax.plasticity.rewrite import recycle
from knife_jax.plasticity.select import lowest


class Utility(NamedTuple):
    """What CBP knows of a layer."""

    utility: Float[Array, "W"]
    mean: Float[Array, "W"]
    """of the activation"""
    age: Int[Array, "W"]
    owed: Float[Array, ""]
    """replacements due but not yet made, a fraction of a neuron per update"""


@checked
def cbp(
    wiring: Wiring,
    *,
    rate: PositiveFraction = CbpConfig.rate,
    maturity: Size = CbpConfig.maturity,
    decay: Fraction = CbpConfig.decay,
) -> PlasticityTransform:
    """Continual backpropagation (Dohare et al. 2024, alg. 1).

    u_i ← η u_i + (1 - η) mean|h_i| mean|v_i|, corrected for its start. Per update and layer a
    share ``rate`` of the neurons older than ``maturity`` updates is due, fractions add up, and
    those of lowest utility are recycled, after the next biases took over what they put out on
    average, v_i · mean h_i.
    """
    groups, rewrite = some(relu_groups(wiring)), recycle(relu_groups(wiring))

    def init(online):
        check(groups, online.get("params", {}))
        for group in groups:
            for reader in group.readers:
                if "bias" not in at(online["params"], reader):
                    allowed = "a layer with a bias, which takes over what neurons put out"
                    raise refuse(f"cbp: outgoing of {group.name!r}", "/".join(reader), allowed)
        zeros = {g.name: jnp.zeros(g.width) for g in groups}
        return {n: Utility(z, z, z.astype(jnp.int32), jnp.zeros(())) for n, z in zeros.items()}

    def measure(state, stats: NeuronStats, clock: Clock):
        del clock

        def one(name: str, u: Utility) -> Utility:
            h = stats.activation[name]
            return u._replace(
                utility=decay * u.utility + (1 - decay) * h * stats.outgoing[name],
                mean=decay * u.mean + (1 - decay) * h,
                age=u.age + 1,
            )

        return {name: one(name, u) for name, u in state.items()}

    def operate(patient, state, key):
        chosen, mean, after = {}, {}, {}
        for name, u in state.items():
            seen = jnp.maximum(1.0 - decay**u.age, 1e-12)
            old = u.age > maturity
            owed = u.owed + rate * jnp.sum(old)
            chosen[name] = lowest(u.utility / seen, old, jnp.floor(owed).astype(jnp.int32))
            mean[name] = u.mean / seen
            after[name] = Utility(
                utility=jnp.where(chosen[name], 0.0, u.utility),
                mean=jnp.where(chosen[name], 0.0, u.mean),
                age=jnp.where(chosen[name], 0, u.age),
                owed=owed - jnp.sum(chosen[name]),
            )
        patient = rewrite.apply(absorb(groups, patient, chosen, mean), chosen, key)
        return patient, after, operated(chosen)

    claims, extras = Claims(continual=True), Extras(needs=("outgoing",))
    return PlasticityTransform(init, measure, operate, every_updates(1), claims, extras)


class Gaps(NamedTuple):
    """What SNR knows of a layer, in updates."""

    age: Int[Array, "W"]
    """updates in a row in which the neuron did not fire"""
    histogram: Int[Array, "W L"]
    """how many gaps ended after 1, 2, … L updates"""
    limit: Int[Array, "W"]


def arrivals(gaps: Gaps, ended: Bool[Array, "W"]) -> Int[Array, "W L"]:
    """The histogram after the present gaps of some neurons have ended; no gap has no length."""
    rows, longest = jnp.arange(gaps.age.size), gaps.histogram.shape[1]
    place = jnp.clip(gaps.age, 1, longest) - 1
    return gaps.histogram.at[rows, place].add((ended & (gaps.age > 0)).astype(jnp.int32))


def own_limits(gaps: Gaps, percentile: float) -> Gaps:
    """Each neuron's limit from its own gaps, which are then forgotten.

    The limit falls to the percentile of the gaps where that is lower, else it doubles; that of a
    neuron that never paused is one update.
    """
    longest = gaps.histogram.shape[1]
    count = jnp.cumsum(gaps.histogram, axis=1)
    reached = count >= percentile * count[:, -1:]
    length = jnp.where(count[:, -1] > 0, jnp.argmax(reached, axis=1).astype(jnp.int32) + 1, 0)
    limit = jnp.where(length < gaps.limit, length, 2 * gaps.limit)
    return gaps._replace(
        limit=jnp.clip(limit, 1, longest), histogram=jnp.zeros_like(gaps.histogram)
    )


@checked
def snr(
    wiring: Wiring,
    *,
    percentile: PositiveFraction = SnrConfig.percentile,
    limit: Count = SnrConfig.limit,
    refresh: Count = SnrConfig.refresh,
    longest: Count = SnrConfig.longest,
) -> PlasticityTransform:
    """Self-normalised resets (Farias & Jozefiak 2025), as in its code.

    A neuron that did not fire on any measured row of as many updates in a row as its own limit is
    recycled, which counts as the end of a gap. Limits start at ``limit`` and follow the neuron's
    own gaps every ``refresh`` updates, up to ``longest``.
    """
    if limit > longest:
        raise refuse("snr: limit", limit, f"at most longest={longest}")
    groups, rewrite = some(relu_groups(wiring)), recycle(relu_groups(wiring))

    def init(online):
        check(groups, online.get("params", {}))

        def start(width: int) -> Gaps:
            none = jnp.zeros((width, longest), jnp.int32)
            return Gaps(none[:, 0], none, jnp.full(width, limit, jnp.int32))

        return {g.name: start(g.width) for g in groups}

    def measure(state, stats: NeuronStats, clock: Clock):
        def one(name: str, gaps: Gaps) -> Gaps:
            fired = stats.activation[name] > 0
            histogram = arrivals(gaps, fired)
            return gaps._replace(age=jnp.where(fired, 0, gaps.age + 1), histogram=histogram)

        def renewed(state):
            return {name: own_limits(gaps, percentile) for name, gaps in state.items()}

        state = {name: one(name, gaps) for name, gaps in state.items()}
        return jax.lax.cond(clock.updates % refresh == 0, renewed, lambda s: s, state)

    def operate(patient, state, key):
        chosen = {name: gaps.age >= gaps.limit for name, gaps in state.items()}
        after = {
            name: gaps._replace(
                age=jnp.where(chosen[name], 0, gaps.age), histogram=arrivals(gaps, chosen[name])
            )
            for name, gaps in state.items()
        }
        return rewrite.apply(patient, chosen, key), after, operated(chosen)

    return PlasticityTransform(init, measure, operate, every_updates(1), Claims(continual=True))
