"""The sums over the graft slots of a layer, as loops over those that are open."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def affine(
    x: Float[Array, "*X I0"], kernel: Float[Array, "I W"], bias: Float[Array, " W"]
) -> Float[Array, "*X W"]:
    """The layer's input times its kernel, whose rows beyond ``x`` belong to the one-hot ids."""
    inputs = x.shape[-1]
    if inputs == kernel.shape[0]:
        return x @ kernel + bias
    return x @ kernel[:inputs] + (kernel[inputs:] + bias)


class Given(NamedTuple):
    """What the neurons of a layer are computed from, besides weights."""

    x: Float[Array, "*X I"]
    moments: tuple[Float[Array, "*X 1"], Float[Array, "*X 1"]] | None = None
    """what all pre-activations are shifted and scaled by, if the layer is normalised"""


def moments_of(whole: Float[Array, "*X W"]) -> tuple[Float[Array, "*X 1"], Float[Array, "*X 1"]]:
    """Mean and scale that give ``whole`` mean 0 and variance 1 over the neurons of each row:
    LayerNorm without scale and offset of its own, so that a neuron stays its column of the kernel
    and its bias."""
    mean = jnp.mean(whole, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(whole - mean), axis=-1, keepdims=True)
    return mean, jax.lax.rsqrt(variance + 1e-6)


def normalised(z: Float[Array, "*X W"], moments: tuple[Array, Array] | None) -> Array:
    if moments is None:
        return z
    mean, scale = moments
    return (z - mean) * scale


def affine_of(given: Given, grafts: dict[str, Array], which: str, slot: Any) -> Array:
    """The pre-activations of the neurons in a slot, before any normalisation."""
    return affine(given.x, grafts[f"{which}_kernel"][slot], grafts[f"{which}_bias"][slot])


def neurons(given: Given, grafts: dict[str, Array], which: str, slot: Any) -> Array:
    """The neurons in a slot."""
    return jax.nn.relu(normalised(affine_of(given, grafts, which, slot), given.moments))


def over_open(body: Callable[[Any, Any], Any], init: Any, n_open: Any, slots: int) -> Any:
    """``body(slot, carry)`` of the open slots in turn.

    A single slot is a branch: as nothing in the loop's body would depend on the slot's number, XLA
    would compute it before the loop, whether the slot is open or not.
    """
    if slots == 1:
        return jax.lax.cond(n_open > 0, partial(body, 0), lambda carry: carry, init)
    return jax.lax.fori_loop(0, n_open, body, init)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def composite(of, given, active, grafts, n_open):
    """The sums of all neurons that a neuron stands for, each computed by ``of``: ``[*X, W]`` of
    ``active`` [*X, W] and of the slots, no neuron using more than ``n_open`` of them.

    A loop, so that slots which are not open cost nothing and the open ones one program.
    """
    used = grafts["used"]

    def followed_by(successor, slot, carry):
        """The sum once it is known what follows the neuron in the slot before."""
        h, comp = carry
        return jnp.where(used > slot - 1, h + (successor - comp), h)

    def add(slot, carry):
        kept = jnp.where(used > slot, of(given, grafts, "kept", slot), active)
        h = jnp.where(slot == 0, kept, followed_by(kept, slot, carry))
        return h, of(given, grafts, "comp", slot)

    slots = grafts["kept_bias"].shape[0]
    summed = over_open(add, (active, jnp.zeros_like(active)), n_open, slots)
    return jnp.where(n_open == 0, active, followed_by(active, n_open, summed))


def _composite_forward(of, given, active, grafts, n_open):
    return composite(of, given, active, grafts, n_open), (given, grafts, n_open)


def _composite_backward(of, left, g):
    given, grafts, n_open = left

    def term(given, slot):
        kept, comp = (of(given, grafts, which, slot) for which in ("kept", "comp"))
        return jnp.where(grafts["used"] > slot, kept - comp, 0.0)

    return _pulled_back(term, given, grafts, n_open, g), g, None, None


composite.defvjp(_composite_forward, _composite_backward)


def _pulled_back(term, given, grafts, n_open, g):
    """The gradient in ``given`` of the sum of ``term(given, slot)`` over the open slots."""

    def add(slot, total):
        _, pull = jax.vjp(lambda given: term(given, slot), given)
        return jax.tree.map(jnp.add, total, pull(g)[0])

    nothing = jax.tree.map(jnp.zeros_like, given)
    return over_open(add, nothing, n_open, grafts["kept_bias"].shape[0])


def _put_out(grafts, which, sign, given, slot):
    """What the neurons in a slot with outgoing weights of their own add to each reader."""
    h = sign * neurons(given, grafts, which, slot)
    n_readers = sum(name.startswith("kept_rows_") for name in grafts)
    return tuple(h @ grafts[f"{which}_rows_{j}"][slot] for j in range(n_readers))


@jax.custom_vjp
def apart(given, nothing, grafts, n_open):
    """What frozen neurons with outgoing weights of their own add to each reader, from ``nothing``
    on; no neuron uses more than ``n_open`` slots, and unused slots have outgoing weights 0."""

    def add(slot, added):
        for which, sign in (("kept", 1.0), ("comp", -1.0)):
            put_out = _put_out(grafts, which, sign, given, slot)
            added = tuple(a + out for a, out in zip(added, put_out, strict=True))
        return added

    return over_open(add, tuple(nothing), n_open, grafts["kept_bias"].shape[0])


def _apart_forward(given, nothing, grafts, n_open):
    return apart(given, nothing, grafts, n_open), (given, grafts, n_open)


def _apart_backward(left, g):
    given, grafts, n_open = left

    def term(given, slot):
        both = (_put_out(grafts, *each, given, slot) for each in (("kept", 1.0), ("comp", -1.0)))
        return tuple(kept + comp for kept, comp in zip(*both, strict=True))

    return _pulled_back(term, given, grafts, n_open, g), list(g), None, None


apart.defvjp(_apart_forward, _apart_backward)
