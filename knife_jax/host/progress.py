"""How far a run is, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from knife_jax.host.rows import Row
from knife_jax.types import Clock


@dataclass
class Progress:
    """Where the run stands, in plain numbers: counts per seed, and seconds."""

    env_steps: int = 0
    updates: int = 0
    task: int = 0
    judged: int = 0
    """the env steps of the newest evaluation"""
    best: dict[str, Any] | None = None
    """the best evaluation so far: its ``score``, a mean over seeds, and its ``env_steps``"""
    frozen: dict[int, int] = field(default_factory=dict)
    """seeds that have diverged, and the env steps at which their networks were last finite"""
    compile_seconds: float = 0.0
    train_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    """time that training has stood still for checkpoints"""
    earlier_seconds: float = 0.0
    """wall time before the run was resumed"""
    started: float = field(default_factory=time.perf_counter)

    @property
    def wall_time(self) -> float:
        """Seconds that the run took, interruptions not counted."""
        return round(self.earlier_seconds + time.perf_counter() - self.started, 3)

    def advance(self, clock: Clock, seconds: float) -> None:
        """A chunk that took ``seconds`` has brought the run to ``clock``."""
        self.env_steps, self.updates, self.task = map(int, clock[:3])
        self.train_seconds += seconds

    def stamp(self) -> dict[str, int | float]:
        """What identifies the moment in a row."""
        now = {"env_steps": self.env_steps, "updates": self.updates, "task": self.task}
        return now | {"wall_time": self.wall_time}

    def freeze(self, seeds: Sequence[int], finite: Sequence[bool]) -> list[int]:
        """Note which seeds are no longer finite after a chunk; those that are new.

        To be called before ``advance``.
        """
        lost = [seed for seed, fine in zip(seeds, finite, strict=True) if not fine]
        new = [seed for seed in lost if seed not in self.frozen]
        self.frozen |= dict.fromkeys(new, self.env_steps)
        return new

    def passed(self, every: int, since: int) -> bool:
        """Whether a multiple of ``every`` env steps lies behind that was ahead at ``since``.

        Never for ``every=0``.
        """
        return every > 0 and self.env_steps // every > since // every

    def judge(self, rows: Sequence[Row]) -> bool:
        """Note an evaluation; whether it is the best so far, by win rate, then by return."""
        self.judged = self.env_steps
        score = [
            sum(row[name] for row in rows) / len(rows)
            for name in ("win_rate", "return")
            if rows and name in rows[0]
        ]
        better = bool(score) and (self.best is None or score > self.best["score"])
        if better:
            self.best = {"env_steps": self.env_steps, "score": score}
        return better

    def record(self) -> dict[str, Any]:
        """All of it as JSON takes it; ``recalled`` is the inverse."""
        out = asdict(self) | {"earlier_seconds": self.wall_time}
        out["frozen"] = list(self.frozen.items())
        del out["started"]
        return out

    @classmethod
    def recalled(cls, record: Mapping[str, Any]) -> Progress:
        """The progress of a run that goes on now."""
        return cls(**{**record, "frozen": dict(record["frozen"])})
