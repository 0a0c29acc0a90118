"""How an environment looks: what of its states is drawn, and where.

A ``View`` is optional: an environment without one is shown by its observations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array

from knife_jax.types import PyTree

Team = Literal["agent", "enemy", "prey", "obstacle"]


class Kind(NamedTuple):
    """A kind of body. Lengths are those of the arena; what is 0 is not drawn."""

    name: str
    radius: float
    sight: float = 0.0
    """how far it sees; in an arena of cells, the half side of the square that it sees"""
    reach: float = 0.0
    """how far it shoots"""
    health: float = 0.0
    """when it is whole"""
    reload: float = 0.0
    """seconds from one shot to the next"""


class Body(NamedTuple):
    """A thing in an arena. Agents come first, in the order of the axis N."""

    name: str
    team: Team
    kind: int = 0
    """its place in ``Arena.kinds``, unless the scene says otherwise"""


class Arena(NamedTuple):
    """A rectangle with bodies in it, x to the right and y upwards.

    A scene of it has ``x`` and ``y``, and may have ``present`` (whether a body is there at all),
    ``kind``, ``health``, ``cooldown`` (seconds), ``vx`` and ``vy`` (per second), and ``target``:
    the body that each one has shot at or caught, -1 for none.
    """

    left: float
    bottom: float
    right: float
    top: float
    kinds: tuple[Kind, ...]
    bodies: tuple[Body, ...]
    cells: bool = False
    """whether it is drawn as cells of length 1"""


class Payoffs(NamedTuple):
    """The payoffs of two agents' joint actions, the first agent's by rows.

    A scene of it has ``payoff`` and ``state``, the number of the table.
    """

    states: int
    """how many tables the game has"""


Scene = Mapping[str, Array]
"""name -> an array, whose last axis is that of the bodies in an arena"""


@runtime_checkable
class Look(Protocol):
    def __call__(self, state: PyTree, now: PyTree, /) -> Scene:
        """Return the scene of a state and its time step.

        Without leading axis in an ``Env``, with the axis E first in a ``VecEnv``.
        """
        ...


class View(NamedTuple):
    """What is drawn of an environment."""

    actions: tuple[str, ...]
    """the names of the actions"""
    stage: Arena | Payoffs
    """what is the same in all states"""
    look: Look
