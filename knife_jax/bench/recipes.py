"""Which methods the benchmark compares, and with which settings."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from knife_jax.clock import at_task_switch, once
from knife_jax.nets.wiring import Wiring
from knife_jax.plasticity.base import Factory, PlasticityTransform
from knife_jax.plasticity.methods import METHODS


class Recipe(NamedTuple):
    """One row of the table."""

    method: Callable[[Wiring], PlasticityTransform]
    slots: int = 0
    layer_norm: bool = False
    widen: bool = False
    """as many trained parameters as KNIFE's network has with all of its slots in use"""


def recipes(*, slots: int, window: int, steps: int) -> dict[str, Recipe]:
    """Every registered method at its own defaults, and KNIFE's random control.

    Methods that are scheduled act at task switches, those that average do so over ``window``
    updates, KNIFE has ``slots``, and what happens once happens after half of all ``steps``.
    ``reset_full`` is here ``fresh_per_task``, a new network for each task.
    """
    given: dict[str, Any] = {"when": at_task_switch, "window": window, "slots": slots}
    out = {name: Recipe(_made(factory, given)) for name, factory in METHODS.items()}
    out["knife"] = out["knife"]._replace(slots=slots)
    random = _made(METHODS["knife"], given | {"select": "random"})
    out["knife_random"] = Recipe(random, slots)
    injection = _made(METHODS["plasticity_injection"], {"when": once(steps // 2)})
    out["plasticity_injection"] = Recipe(injection, slots=1)
    out["fresh_per_task"] = out.pop("reset_full")
    out["wider"] = out["wider"]._replace(widen=True)
    for name in ("layer_norm", "nap"):
        out[name] = out[name]._replace(layer_norm=True)
    first = ("none", "fresh_per_task", "wider", "knife", "knife_random")
    return {name: out[name] for name in (*first, *(n for n in out if n not in first))}


def _made(factory: Factory, given: dict[str, Any]):
    """A factory with those of the settings that it takes."""
    takes = inspect.signature(factory).parameters
    return partial(factory, **{name: value for name, value in given.items() if name in takes})


def parameters(inputs: int, widths: tuple[int, ...], outputs: int, slots: int = 0) -> int:
    """Weights and biases of a network, frozen ones in graft slots included."""
    ends = zip((inputs, *widths), widths, strict=False)
    hidden = sum((i + 1) * w for i, w in ends)
    return hidden * (1 + 2 * slots) + (widths[-1] + 1) * outputs


def matched(inputs: int, widths: tuple[int, ...], outputs: int, slots: int) -> tuple[int, ...]:
    """The same number of layers, all equally wider, with about the parameters of all slots."""
    goal = parameters(inputs, widths, outputs, slots)

    def size(factor: float) -> tuple[int, ...]:
        return tuple(round(width * factor) for width in widths)

    factors = [1 + i / min(widths) / 4 for i in range(math.ceil(40 * min(widths)))]
    return size(min(factors, key=lambda f: abs(parameters(inputs, size(f), outputs) - goal)))
