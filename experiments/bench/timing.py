"""How long something takes: by the clock, and in seconds of all processors together."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax


class Spent(NamedTuple):
    """Seconds of one call."""

    wall: float
    cpu: float
    """if other programs want these processors, less disturbed than the clock's"""


def timer(run: Callable[[], Any], at_least: float, calls: float = 1) -> Callable[[], Spent]:
    """Times ``run``, in which there are so many calls, again and again for ``at_least`` seconds."""

    def spend(n: int) -> Spent:
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(n - 1):
            run()
        jax.block_until_ready(run())
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        return Spent(wall / n / calls, cpu / n / calls)

    spend(1)  # compiles
    n = max(1, math.ceil(at_least / (spend(1).wall * calls)))
    return partial(spend, n)


def median(spent: Sequence[Spent]) -> Spent:
    """Of the clock and of the processors, each by itself."""
    return Spent(*(statistics.median(each) for each in zip(*spent, strict=True)))
