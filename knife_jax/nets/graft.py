"""A dense layer whose neurons can be operated on without changing the function."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from knife_jax.checks import accepted, checked, refuse
from knife_jax.config.schema import Count, Size
from knife_jax.nets.initialisers import Init
from knife_jax.nets.slots import (
    Given,
    affine,
    affine_of,
    apart,
    composite,
    moments_of,
    neurons,
    normalised,
)
from knife_jax.types import PyTree, Variables

OPEN_SLOTS = "open_slots"
"""the collection that bounds, beside ``params`` and ``grafts``, how many slots can be in use"""


def _whole(n: Any, name: str) -> Any:
    if isinstance(n, bool | float) or (isinstance(n, int) and n < 0):
        raise refuse(name, n, "a whole number, at least 0")
    return n


@checked
def with_open_slots(variables: Variables, n: Annotated[Int[Array, ""] | int, _whole]) -> Variables:
    """The variables, with the number of graft slots that any neuron can use by now.

    No neuron uses more slots than surgeries were due, which follows from the Clock. ``n`` is to be
    an unbatched value: then a network mapped over seeds computes the open slots alone, since its
    loop over them stays one. It is never stored: add it where a network is applied.

    Args:
      variables: the collections of a network, with or without ``grafts``.
      n: open slots; more than a layer has count as all of its slots.

    Raises:
      ValueError: if ``n`` is not a whole number of at least 0.
    """

    def of_layers(grafts: PyTree) -> PyTree:
        if "used" in grafts:
            return {"n": n}
        return {name: of_layers(inner) for name, inner in grafts.items()}

    return {**variables, OPEN_SLOTS: of_layers(variables.get("grafts", {}))}


class GraftedDense(nn.Module):
    """A ReLU layer with K graft slots per neuron.

    ``params`` always holds the *active* neurons, so the optimiser sees the tree of a plain layer.
    What surgery freezes lives in the collection ``grafts``: for each slot the neuron that was kept
    and the compensation of its successor, and per neuron how many slots are in use. In the forward
    pass neuron i with c slots in use puts out

        h = k_0 + Σ_{s<c} (n_s - m_s)

    with k_s the kept neurons, m_s the compensating ones, and n_s the successor of k_s: k_{s+1}, or
    the active neuron where s + 1 = c. A new graft moves the active neuron into
    slot c and writes one fresh draw to the active neuron and to m_c: its difference is exactly
    zero, and since the *difference* is what is added, ``h`` keeps its bits in every floating type.

    All slots are computed unless the variables say that fewer can be in use (``with_open_slots``):
    the others then cost nothing. With ``slots = 0`` this is a plain layer.

    With ``ids = N`` the input continues with a one-hot of the axis N before the last, which is
    never made: its product is a row of the kernel.

    Successors share the outgoing weights of the neuron they follow. Where ``readers`` gives the
    widths of the layers that read this one, each neuron has outgoing weights of its own instead:
    kept and compensating ones have theirs frozen here (``kept_rows_j``, ``comp_rows_j``), the
    layer puts out the active neurons alone, and with them what its frozen neurons add to reader j:

        Σ_{s<c} (k_s V_kj - m_s V_mj)

    A new graft then keeps the function up to rounding.

    With ``layer_norm`` all pre-activations are normalised by the mean and variance, over the
    layer's neurons, of *composite* pre-activations: the same sums as ``h``, before the ReLU. A new
    graft leaves these as they are, to the bit, and so all neurons of the layer.

    Shapes: ``x [..., I - ids] -> [..., W]``. The output is also sown into ``intermediates`` as
    ``activation``; a collection ``perturbations``, where there is one, is added to the
    pre-activation of the active neurons, for gradients in it.
    """

    width: Count
    init_with: Init
    slots: Size = 0
    ids: Size = 0
    layer_norm: bool = False
    readers: tuple[Count, ...] = ()

    def __post_init__(self) -> None:
        for name, value in accepted(self, "GraftedDense").items():
            object.__setattr__(self, name, value)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "*X I"]
    ) -> Float[Array, "*X W"] | tuple[Float[Array, "*X W"], tuple[Array, ...]]:
        if self.ids and x.shape[-2:-1] != (self.ids,):
            raise refuse("ids", self.ids, f"the length of the axis before the last of {x.shape}")
        fan_in, width, slots = x.shape[-1] + self.ids, self.width, self.slots
        kernel = self.param("kernel", self.init_with.dense, (fan_in, width))
        bias = self.param("bias", self.init_with.bias(fan_in), (width,))
        z = affine(x, kernel, bias)
        grafts: dict[str, Array] = {}
        if slots:

            def frozen(name: str, *shape: int, dtype: jnp.dtype = kernel.dtype) -> Array:
                return self.variable("grafts", name, jnp.zeros, shape, dtype).value

            grafts = {
                "kept_kernel": frozen("kept_kernel", slots, fan_in, width),
                "kept_bias": frozen("kept_bias", slots, width),
                "comp_kernel": frozen("comp_kernel", slots, fan_in, width),
                "comp_bias": frozen("comp_bias", slots, width),
                "used": frozen("used", width, dtype=jnp.dtype(jnp.int32)),
            }
            for j, out in enumerate(self.readers):
                for which in ("kept", "comp"):
                    grafts[f"{which}_rows_{j}"] = frozen(f"{which}_rows_{j}", slots, width, out)

        n = self.get_variable(OPEN_SLOTS, "n") if slots else None
        n_open = slots if n is None else jnp.minimum(n, slots)

        given = Given(x)
        if self.layer_norm:
            whole: Any = composite(affine_of, given, z, grafts, n_open) if slots else z
            given = Given(x, moments_of(whole))
        pre_activation = normalised(z, given.moments)
        active = jax.nn.relu(self.perturb("pre_activation", pre_activation))
        h: Any = active
        added: Any = ()
        if self.readers:
            outs = [jnp.zeros((*active.shape[:-1], out), active.dtype) for out in self.readers]
            added = apart(given, outs, grafts, n_open) if slots else tuple(outs)
        elif slots:
            h = composite(neurons, given, active, grafts, n_open)
        self.sow("intermediates", "activation", h)
        return (h, added) if self.readers else h


class Occupancy(NamedTuple):
    """How far the graft slots of a network are filled."""

    grafted_units: Int[Array, ""]
    slots_used: Int[Array, ""]
    saturated_units: Int[Array, ""]
    """neurons without a free slot: no further surgery is possible on them"""


@checked
def occupancy(grafts: PyTree, slots: Size) -> Occupancy:
    """Counts over all layers of a ``grafts`` collection; zeros where there are no grafts."""
    used = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(grafts)
        if path[-1] == jax.tree_util.DictKey("used")
    ]
    if not used:
        return Occupancy(*(jnp.zeros((), jnp.int32),) * 3)
    counts = jnp.concatenate(used)
    return Occupancy(jnp.sum(counts > 0), jnp.sum(counts), jnp.sum(counts == slots))


def equal_in_target(leaf: str) -> bool:
    """Return whether a leaf of ``grafts`` is equal in the online and the target network, by its
    name: compensations and slot counts are, kept neurons are not."""
    return leaf.startswith("comp_") or leaf == "used"
