"""How far a run is, and how long it took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from knife_jax.types import Clock


@dataclass
class Progress:
    """Where the run stands, in plain numbers: counts per seed, and seconds."""

    env_steps: int = 0
    updates: int = 0
    task: int = 0
    compile_seconds: float = 0.0
    train_seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @property
    def wall_time(self) -> float:
        """Seconds since the run began."""
        return round(time.perf_counter() - self.started, 3)

    def advance(self, clock: Clock, seconds: float) -> None:
        """A chunk that took ``seconds`` has brought the run to ``clock``."""
        self.env_steps, self.updates, self.task = (int(value) for value in clock)
        self.train_seconds += seconds

    def stamp(self) -> dict[str, int | float]:
        """What identifies the moment in a row."""
        now = {"env_steps": self.env_steps, "updates": self.updates, "task": self.task}
        return now | {"wall_time": self.wall_time}
