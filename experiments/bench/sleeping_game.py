"""A game that takes a given time for a step and does nothing: what ``bridge.py`` plays."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

try:
    from worker.rows import Row, Sizes  # pyright: ignore[reportMissingImports]  (in a worker)
except ImportError:
    from knife_jax.envs.smacv2.worker.rows import Row, Sizes

SIZES = Sizes(n_agents=5, n_actions=11, obs_size=82, state_size=120, horizon=200)
"""those of SMACv2's terran_5_vs_5"""


class Sleeping:
    """Episodes of 200 steps, each of ``settings["seconds"]``."""

    sizes, recycled = SIZES, 0

    def __init__(self, settings: dict[str, Any]) -> None:
        self._seconds, self._steps = settings["seconds"], 0
        n, a, o, d, _ = SIZES
        self._row = Row(
            np.ones((n, o), np.float32), np.ones(d, np.float32), np.ones((n, a), bool), 0.0,
            False, False, False,
        )  # fmt: skip

    def reset(self, order: object) -> Row:
        self._steps = 0
        return self._row

    def step(self, action: object) -> Row:
        self._steps += 1
        time.sleep(self._seconds)
        return self._row._replace(truncated=self._steps == SIZES.horizon)

    def close(self) -> None:
        """Nothing is open."""
