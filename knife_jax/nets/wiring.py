"""Which leaves hold the neurons that plasticity methods measure and operate on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from flax import linen as nn

from knife_jax.nets.init import Draw
from knife_jax.types import PyTree

Kind = Literal["relu", "linear", "head", "gate"]
"""``relu``: hidden neurons, the only ones operated on one by one; ``head``: the last layer of a
network; ``gate``: part of a recurrent cell; ``linear``: others without a nonlinearity"""


class NeuronGroup(NamedTuple):
    """The neurons of one dense layer, declared by the network that owns it."""

    name: str
    """its path in every collection, joined by slashes: ``agent/encoder``"""
    width: int
    fresh: Draw
    """(key, [I, W], dtype) -> incoming weights of new neurons"""
    outgoing: tuple[str, ...] = ()
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


Wiring = tuple[NeuronGroup, ...]


def hidden(wiring: Wiring) -> Wiring:
    """The groups whose neurons can be operated on one by one."""
    return tuple(group for group in wiring if group.kind == "relu")


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
    for group in wiring:
        leaves = layer(params, group)
        if group.kind == "relu" and {*leaves} != {"kernel", "bias"}:
            raise ValueError(f"{group.name!r} needs a kernel and a bias, but has {sorted(leaves)}")
        shapes = {name: leaf.shape for name, leaf in leaves.items()}
        if any(shape[-1:] != (group.width,) for shape in shapes.values()):
            raise ValueError(
                f"wiring of {group.name!r} says {group.width} neurons, but it has {shapes}"
            )
        for reader in group.readers:
            kernel = at(params, reader)["kernel"]
            if kernel.shape[-2] != group.width:
                raise ValueError(
                    f"{group.name!r} has {group.width} neurons, but {'/'.join(reader)!r}, which "
                    f"should read them, has a kernel {kernel.shape}"
                )
