"""A run while it is made: what its directory says of it, and what training changes."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from knife_jax.clock import Clock
from knife_jax.config.run import Config
from knife_jax.host.progress import Progress
from knife_jax.records.checkpoint import Checkpoints
from knife_jax.records.compare import config_hash

if TYPE_CHECKING:
    from knife_jax.builders.program import Program
    from knife_jax.types import PyTree

NEVER = (-1, -1)
"""the moment of a checkpoint that does not exist"""


@dataclass
class RunInfo:
    """A run as its directory shows it, from its first moment on. Free of what is compiled."""

    config: Config
    folder: Path
    """the run directory"""
    checkpoint_folder: Path
    progress: Progress = field(default_factory=Progress)
    begun: bool = False
    """whether the run directory is this run's own by now, so that its end is written there"""
    versions: dict[str, Any] = field(default_factory=dict)
    n_params: int | None = None
    mesh: dict[str, int] = field(default_factory=dict)
    """devices by axis, see ``Program``"""
    compile_cached: bool | None = None
    """whether the program was found in the cache; None if none was needed"""
    checkpoint: int | None = None
    """the env steps of the newest checkpoint on disk"""
    error: str | None = None
    held: ExitStack = field(default_factory=ExitStack)
    """what is closed when the run ends"""

    @property
    def seeds(self) -> list[int]:
        """The seeds, in the order of the axis S."""
        return self.config.seeds

    def facts(self) -> dict[str, Any]:
        """What ``summary.json`` says besides progress and results, as far as it is known."""
        return {
            "seeds": self.seeds,
            "config_hash": config_hash(self.config),
            "compile_cached": self.compile_cached,
            "checkpoint": self.checkpoint,
            **({"versions": self.versions} if self.versions else {}),
            **({"n_params": self.n_params, "mesh": self.mesh} if self.mesh else {}),
            **({"error": self.error} if self.error else {}),
        }


@dataclass
class RunState:
    """A run that is being trained. S is the axis of seeds."""

    info: RunInfo
    program: Program
    checkpoints: Checkpoints
    state: PyTree
    """[S, ...]"""
    clock: Clock
    chunk: jax.stages.Wrapped | jax.stages.Compiled
    """compiled if anything is left to train"""
    evaluation: Future[None] | None
    """what is compiled for evaluations meanwhile"""
    saved: tuple[int, int]
    """the moment of the newest checkpoint, see ``Progress.moment``"""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    """host memory of the checkpoint before, used again"""
