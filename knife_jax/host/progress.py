"""How far a run is, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from knife_jax.clock import Clock
from knife_jax.records.lines import Record
from knife_jax.records.series import over_tasks


@dataclass
class Progress:
    """Where the run stands, in plain numbers: counts per seed, and seconds."""

    env_steps: int = 0
    updates: int = 0
    task: int = 0
    evaluated: int = 0
    """the env steps of the newest evaluation"""
    best: dict[str, Any] | None = None
    """the best evaluation so far: its ``env_steps`` and the ``scores`` of its seeds, as pairs"""
    frozen: dict[int, int] = field(default_factory=dict)
    """seeds that have diverged, and the env steps at which their networks were last finite"""
    compile_seconds: float = 0.0
    """from the plan of the program until its first chunk can be computed"""
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

    @property
    def moment(self) -> tuple[int, int]:
        """What distinguishes checkpoints: the env steps, and those of the newest evaluation."""
        return self.env_steps, self.evaluated

    def advance(self, env_steps: int, clock: Clock, seconds: float) -> None:
        """Note a chunk that took ``seconds`` and ended at ``env_steps`` and ``clock``."""
        self.env_steps, self.updates, self.task = env_steps, int(clock.updates), int(clock.task)
        self.train_seconds += seconds

    def stamp(self) -> dict[str, int | float]:
        """The fields of a record that say when it was made."""
        now = {"env_steps": self.env_steps, "updates": self.updates, "task": self.task}
        return now | {"wall_time": self.wall_time}

    def freeze(self, seeds: Sequence[int], finite: Iterable[Any]) -> list[int]:
        """Note which seeds are no longer ``finite`` after a chunk; call it before ``advance``.

        Returns those that were finite before it.
        """
        lost = [seed for seed, fine in zip(seeds, finite, strict=True) if not fine]
        new = [seed for seed in lost if seed not in self.frozen]
        self.frozen |= dict.fromkeys(new, self.env_steps)
        return new

    def passed(self, every: int, since: int) -> bool:
        """Whether a multiple of ``every`` env steps was reached after ``since``.

        Never for ``every=0``.
        """
        return every > 0 and self.env_steps // every > since // every

    def note_evaluation(self, records: Sequence[Record]) -> bool:
        """Note an evaluation. Returns whether it is the best so far, by win rate, then by return.

        Both sides are means over those seeds that have not diverged since.
        """
        self.evaluated = self.env_steps
        scores = _scores(records)
        held = dict(self.best["scores"]) if self.best else {}
        seeds = [seed for seed in scores if seed in held] if held else list(scores)
        better = bool(seeds) and (not held or _mean(scores, seeds) > _mean(held, seeds))
        if better:
            self.best = {"env_steps": self.env_steps, "scores": list(scores.items())}
        return better

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON holds them; ``from_json`` is the inverse."""
        out = asdict(self) | {"earlier_seconds": self.wall_time}
        out["frozen"] = list(self.frozen.items())
        del out["started"]
        return out

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Progress:
        """The progress of a run that is resumed now."""
        return cls(**{**values, "frozen": dict(values["frozen"])})


def _scores(records: Sequence[Record]) -> dict[int, list[float]]:
    """The win rate, if there is one, and the return of each seed, as means over its tasks."""
    known = [record for record in over_tasks(records) if record["return"] is not None]
    return {r["seed"]: [r[n] for n in ("win_rate", "return") if n in r] for r in known}


def _mean(scores: Mapping[int, list[float]], seeds: Sequence[int]) -> list[float]:
    columns = zip(*(scores[seed] for seed in seeds), strict=True)
    return [sum(column) / len(seeds) for column in columns]
