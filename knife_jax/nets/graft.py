"""A dense layer whose neurons can be operated on without changing the function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from knife_jax.checks import accepted, checked, refuse
from knife_jax.config.schema import Count, Size
from knife_jax.nets.initialisers import Init
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
    ``switch`` stays a branch. It is never stored: add it where a network is applied.

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
        z = _affine(x, kernel, bias)
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

        def over_slots(output: Output, active: Array) -> Any:
            """The output of as many slots as can be in use."""
            branches = [partial(output, grafts, n) for n in range(slots + 1)]
            n = self.get_variable(OPEN_SLOTS, "n") if slots else None
            if n is None:
                return branches[slots](x, active)
            return jax.lax.switch(jnp.minimum(n, slots), branches, x, active)

        normal = _same
        if self.layer_norm:
            normal = _normal_over(over_slots(partial(_composite, _same), z))
        rectified = lambda z: jax.nn.relu(normal(z))  # noqa: E731
        active = jax.nn.relu(self.perturb("pre_activation", normal(z)))
        h, added = active, ()
        if self.readers:
            added = over_slots(partial(_apart, len(self.readers), rectified), active)
        else:
            h = over_slots(partial(_composite, rectified), active)
        self.sow("intermediates", "activation", h)
        return (h, added) if self.readers else h


def _affine(
    x: Float[Array, "*X I0"], kernel: Float[Array, "I W"], bias: Float[Array, " W"]
) -> Float[Array, "*X W"]:
    """The layer's input times its kernel, whose rows beyond ``x`` belong to the one-hot ids."""
    inputs = x.shape[-1]
    if inputs == kernel.shape[0]:
        return x @ kernel + bias
    return x @ kernel[:inputs] + (kernel[inputs:] + bias)


def _same(z: Float[Array, "*X W"]) -> Float[Array, "*X W"]:
    return z


def _normal_over(whole: Float[Array, "*X W"]) -> Callable[[Array], Array]:
    """What normalises pre-activations so that ``whole`` would have mean 0 and variance 1 over the
    neurons of each row: LayerNorm without scale and offset of its own, so that a neuron stays its
    column of the kernel and its bias."""
    mean = jnp.mean(whole, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(whole - mean), axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(variance + 1e-6)
    return lambda z: (z - mean) * scale


@runtime_checkable
class Output(Protocol):
    """``_composite`` or ``_apart``, of the frozen neurons of a layer."""

    def __call__(
        self,
        grafts: dict[str, Array],
        n_slots: int,
        x: Float[Array, "*X I"],
        active: Float[Array, "*X W"],
    ) -> Any:
        """Return what it says of the layer's input and its active neurons, where no neuron uses
        more than ``n_slots`` slots."""
        ...


def _composite(
    of: Callable[[Array], Array],
    grafts: dict[str, Array],
    n_slots: int,
    x: Float[Array, "*X I"],
    active: Float[Array, "*X W"],
) -> Float[Array, "*X W"]:
    """The sums of all neurons that a neuron stands for, each ``of`` its pre-activation, where no
    neuron uses more than ``n_slots`` slots."""
    if not n_slots:
        return active
    used = grafts["used"]

    def neurons(which: str, slot: int) -> Float[Array, "*X W"]:
        return of(_affine(x, grafts[f"{which}_kernel"][slot], grafts[f"{which}_bias"][slot]))

    kept = [neurons("kept", s) for s in range(n_slots)] + [active]
    h = jnp.where(used > 0, kept[0], active)
    for s in range(n_slots):
        successor = jnp.where(used > s + 1, kept[s + 1], active)
        h = jnp.where(used > s, h + (successor - neurons("comp", s)), h)
    return h


def _apart(
    n_readers: int,
    of: Callable[[Array], Array],
    grafts: dict[str, Array],
    n_slots: int,
    x: Float[Array, "*X I"],
    active: Float[Array, "*X W"],
) -> tuple[Array, ...]:
    """What frozen neurons with outgoing weights of their own add to each reader, where no neuron
    uses more than ``n_slots`` slots. Unused slots have outgoing weights 0."""
    if not grafts:
        return (jnp.zeros(()),) * n_readers
    outs = [grafts[f"kept_rows_{j}"].shape[-1] for j in range(n_readers)]
    added = [jnp.zeros((*active.shape[:-1], out), active.dtype) for out in outs]
    for s in range(n_slots):
        for which, sign in (("kept", 1.0), ("comp", -1.0)):
            h = sign * of(_affine(x, grafts[f"{which}_kernel"][s], grafts[f"{which}_bias"][s]))
            added = [a + h @ grafts[f"{which}_rows_{j}"][s] for j, a in enumerate(added)]
    return tuple(added)


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
