"""Which leaves hold the neurons that plasticity methods measure and operate on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from flax import linen as nn

from knife_jax.checks import accepted, refuse
from knife_jax.config.schema import Allowed, Count
from knife_jax.nets.initialisers import Draw
from knife_jax.types import PyTree, Variables

Kind = Literal["relu", "linear", "head", "gate", "fixed"]
"""``relu``: hidden neurons, the only ones operated on one by one; ``head``: the last layer of a
network; ``gate``: part of a recurrent cell; ``linear``: others without a nonlinearity; ``fixed``:
hidden neurons that cannot be operated on one by one"""


Path = Annotated[str, Allowed("names joined by single slashes", lambda name: all(name.split("/")))]


class NeuronGroup(NamedTuple):
    """The neurons of one dense layer, declared by the network that owns it."""

    name: Path
    """its path in every collection, joined by slashes: ``agent/encoder``"""
    width: Count
    fresh: Draw
    """(key, [I, W], dtype) -> incoming weights of new neurons"""
    outgoing: tuple[Path, ...] = ()
    """the dense layers that read these neurons: row i of such a kernel is what neuron i puts out,
    and the bias beside the kernel is added to it"""
    kind: Kind = "relu"
    fresh_bias: Callable[[int], Draw] = lambda fan_in: nn.initializers.zeros
    """inputs per neuron -> (key, [W], dtype) -> biases, where a layer is drawn anew as a whole; a
    single new neuron starts with bias 0"""

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(self.name.split("/"))

    @property
    def network(self) -> str:
        return self.path[0]

    @property
    def readers(self) -> tuple[tuple[str, ...], ...]:
        """The paths of ``outgoing``."""
        return tuple(tuple(name.split("/")) for name in self.outgoing)


def distinct(wiring: Any, name: str = "wiring") -> tuple[NeuronGroup, ...]:
    """The wiring, whatever its network. Raises ValueError where it is none, where a value of a
    group is not allowed, and where two groups claim one layer or are both read by one."""
    groups = wiring if isinstance(wiring, tuple | list) else (wiring,)
    if isinstance(wiring, NeuronGroup) or not all(isinstance(g, NeuronGroup) for g in groups):
        raise refuse(name, wiring, "a tuple of NeuronGroup")
    groups = tuple(g._replace(**accepted(g, f"{name} of {g.name!r}")) for g in groups)
    owner: dict[str, str] = {}
    for group in groups:
        if [g.name for g in groups].count(group.name) > 1:
            raise refuse(name, group.name, "of groups with names of their own; this comes twice")
        for reader in group.outgoing:
            other = owner.setdefault(reader, group.name)
            if other != group.name or group.outgoing.count(reader) > 1:
                allowed = f"a layer named once in the wiring ({other!r} is read by it)"
                raise refuse(f"{name} of {group.name!r}: outgoing", reader, allowed)
    return groups


Wiring = Annotated[tuple[NeuronGroup, ...], distinct]


def relu_groups(wiring: Wiring) -> Wiring:
    """The groups whose neurons can be operated on one by one."""
    return tuple(group for group in distinct(wiring) if group.kind == "relu")


def some(groups: Wiring, kind: Kind = "relu") -> Wiring:
    """The groups. Raises ValueError where there are none: surgery would do nothing."""
    if not groups:
        raise refuse("wiring", groups, f"of at least one group of kind {kind}, to be operated on")
    return groups


def at(collection: PyTree, path: tuple[str, ...]) -> PyTree:
    """What a collection holds at a path."""
    for part in path:
        collection = collection[part]
    return collection


def layer(collection: PyTree, group: NeuronGroup) -> PyTree:
    """The leaves of a group in one collection: ``kernel [I, W]`` and ``bias [W]`` in params."""
    return at(collection, group.path)


def put(collection: PyTree, path: tuple[str, ...], leaves: PyTree) -> PyTree:
    """The collection with what it holds at a path replaced."""
    if not path:
        return leaves
    return {**collection, path[0]: put(collection[path[0]], path[1:], leaves)}


def check(wiring: Wiring, params: PyTree) -> None:
    """Raise ValueError where the wiring does not describe these parameters."""
    for group in distinct(wiring):
        name, leaves = group.name, _found(params, group.path, "params")
        if "kernel" not in leaves or (group.kind == "relu" and {*leaves} != {"kernel", "bias"}):
            raise ValueError(f"{name!r} needs a kernel and a bias, but has {sorted(leaves)}")
        shapes = {leaf: array.shape for leaf, array in leaves.items()}
        kernel = shapes.pop("kernel")
        if len(kernel) != 2 or any(s[-1:] != (group.width,) for s in (kernel, *shapes.values())):
            raise ValueError(
                f"wiring of {name!r} says {group.width} neurons, but it has "
                f"a kernel {kernel} and {shapes}"
            )
        for reader in group.readers:
            said = "/".join(reader)
            kernel = _found(params, reader, "params").get("kernel")
            if kernel is None or kernel.shape[:-1] != (group.width,):
                raise ValueError(
                    f"{name!r} has {group.width} neurons, but {said!r}, which "
                    f"should read them, has a kernel {getattr(kernel, 'shape', None)}"
                )
            if reader == group.path:
                raise ValueError(f"{name!r} is read by itself: its neurons cannot be operated on")


def check_slots(wiring: Wiring, online: Variables, slots: int, *, own_outgoing: bool) -> None:
    """Raise ValueError where the layers of a wiring are no ``GraftedDense`` of so many slots, with
    or without outgoing weights of their own."""
    params, grafts = online["params"], online.get("grafts", {})
    for group in wiring:
        frozen = _found(grafts, group.path, "grafts")
        made = frozen["kept_bias"].shape[0]
        if made != slots:
            raise ValueError(
                f"{group.name!r} has graft slots for {made} surgeries, the method needs {slots}"
            )
        rows = sorted(leaf for leaf in frozen if leaf.startswith("kept_rows_"))
        readers = group.readers if own_outgoing else ()
        if len(rows) != len(readers):
            raise ValueError(
                f"{group.name!r} has frozen outgoing weights for {len(rows)} readers, the method "
                f"needs {len(readers)}"
            )
        for row, reader in zip(rows, readers, strict=True):
            needed = slots, *at(params, reader)["kernel"].shape
            if frozen[row].shape != needed:
                raise ValueError(f"{row} of {group.name!r} is {frozen[row].shape}, not {needed}")


def _found(collection: PyTree, path: tuple[str, ...], name: str) -> PyTree:
    """The leaves of a layer; raises ValueError where there is no such layer."""
    place = collection
    for part in path:
        if not isinstance(place, Mapping) or part not in place:
            there = (isinstance(place, Mapping) and ", ".join(sorted(place))) or "no layers"
            raise ValueError(f"the network's {name} have no {'/'.join(path)!r}; there: {there}")
        place = place[part]
    return place
