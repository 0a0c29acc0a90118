"""What the section ``plasticity`` of a configuration has whatever the method is. Free of jax.

A method's section says of each field what it means, what it allows and what it is by default. The
fields that are its own are the keyword arguments of the method's factory in ``plasticity``, which
takes its defaults from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

from knife_jax.config.schema import (
    ConfigError,
    Count,
    Positive,
    Section,
    StepsOrZero,
    choice,
    word,
)

WINDOW = "updates over which activity is averaged"


def refuse(wrong: bool, said: str, allowed: str) -> None:
    """Raise ``ConfigError`` if fields do not fit together."""
    if wrong:
        raise ConfigError(f"plasticity.{said} is refused: must be {allowed}")


class NetworkOptions(NamedTuple):
    """What a method asks of the hidden layers of all networks."""

    slots: int = 0
    """graft slots of every neuron that can be operated on"""
    layer_norm: bool = False
    """normalised before the nonlinearity"""
    own_outgoing: bool = False
    """grafts have outgoing weights of their own"""


class Schedule(NamedTuple):
    """When surgery is due."""

    interval: int = 0
    """env steps between surgeries; 0 = never"""
    at_task_switch: bool = False
    once: int | None = None
    """env steps before a single surgery"""


class Stagnation(NamedTuple):
    """How stagnation is measured for the log."""

    threshold: float
    window: int


@dataclass(frozen=True, kw_only=True)
class PlasticityConfig(Section):
    """What every method has."""

    section: ClassVar[str] = "plasticity"
    name: Annotated[str, word(), "label"]
    method: Annotated[str, "label"]

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of the method's factory."""
        return self.beyond(PlasticityConfig, Scheduled, Once, Scoped)

    def networks(self) -> NetworkOptions:
        """What the method asks of the networks."""
        return NetworkOptions()

    def schedule(self) -> Schedule | None:
        """When surgery is due; None if the method itself decides, or does none."""
        return None

    def stagnation(self) -> Stagnation:
        """How stagnation is measured for the log."""
        return Stagnation(Stagnant.threshold, Stagnant.window)


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """Fields of methods that operate at intervals and at task switches."""

    interval: Annotated[StepsOrZero, "env steps between surgeries; 0 = never"] = 0
    at_task_switch: Annotated[bool, "operate whenever the task changes"] = True

    def schedule(self) -> Schedule:
        """Intervals and task switches."""
        return Schedule(self.interval, self.at_task_switch)


@dataclass(frozen=True, kw_only=True)
class Once:
    """Fields of methods that operate a single time."""

    at: Annotated[StepsOrZero, "env steps before the injection"]

    def schedule(self) -> Schedule:
        """A single moment."""
        return Schedule(once=self.at)


@dataclass(frozen=True, kw_only=True)
class Scoped:
    """The field of methods that can be kept to some of the networks."""

    scope: Annotated[str, choice("agent", "mixer", "all"), "which networks are operated on"] = "all"


@dataclass(frozen=True, kw_only=True)
class Stagnant:
    """Fields that say which neurons are stagnant, for surgery or for the log alone."""

    threshold: Annotated[Positive, "stagnant below this fraction of the layer's mean activity"] = (
        0.25
    )
    window: Annotated[Count, WINDOW] = 200

    def stagnation(self) -> Stagnation:
        """As these fields say."""
        return Stagnation(self.threshold, self.window)
