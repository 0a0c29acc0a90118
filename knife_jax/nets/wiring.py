"""Which leaves hold the neurons that plasticity methods measure and operate on."""

from __future__ import annotations

from typing import NamedTuple

from knife_jax.nets.init import Draw
from knife_jax.types import PyTree


class NeuronGroup(NamedTuple):
    """The neurons of one GraftedDense layer, declared by the network that owns it."""

    name: str
    """its path in every collection, joined by slashes: ``agent/encoder``"""
    width: int
    fresh: Draw
    """(key, [I, W], dtype) -> incoming weights of new neurons"""

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(self.name.split("/"))


Wiring = tuple[NeuronGroup, ...]


def layer(collection: PyTree, group: NeuronGroup) -> PyTree:
    """The leaves of a group in one collection: ``kernel [I, W]`` and ``bias [W]`` in params."""
    for part in group.path:
        collection = collection[part]
    return collection


def with_layer(collection: PyTree, group: NeuronGroup, leaves: PyTree) -> PyTree:
    """The collection with the leaves of a group replaced."""

    def replaced(tree: PyTree, path: tuple[str, ...]) -> PyTree:
        if not path:
            return leaves
        return {**tree, path[0]: replaced(tree[path[0]], path[1:])}

    return replaced(collection, group.path)


def check(wiring: Wiring, params: PyTree) -> None:
    """Raise ValueError where the wiring does not describe these parameters."""
    for group in wiring:
        kernel, bias = layer(params, group)["kernel"], layer(params, group)["bias"]
        if kernel.shape[-1:] != (group.width,) or bias.shape != (group.width,):
            raise ValueError(
                f"wiring of {group.name!r} says {group.width} neurons, but its kernel is "
                f"{kernel.shape} and its bias {bias.shape}"
            )
