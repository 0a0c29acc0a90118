"""The games of a run: those of its seeds, those of its evaluations, and their log."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from knife_jax.config.games import GamesError
from knife_jax.config.run import Config
from knife_jax.envs.smacv2.group import Group, Rows
from knife_jax.envs.smacv2.pool import Pool
from knife_jax.envs.smacv2.worker.rows import Sizes

LOG = "games.jsonl"
"""in the run directory: a line for each event of a game"""


class Games:
    """All games of a run. ``training`` and ``evaluation`` are there once they are opened."""

    training: Group
    evaluation: Group

    def __init__(self, sizes: Sizes, game: str, settings: Mapping[str, Any]) -> None:
        self._sizes, self._game, self._settings = sizes, game, settings
        self._pools: list[Pool] = []
        self._failure: str | None = None
        self._lock = threading.Lock()
        self._file: Any = None
        self._closing = threading.Event()
        self._starter: threading.Thread | None = None

    def open(self, config: Config, folder: Path | None, training: bool = True) -> None:
        """Start the games of training in the background; those of an evaluation start with it.

        ``folder`` gets ``games.jsonl``.
        """
        if folder is not None:
            self._file = folder / LOG
        waits, width = config.algo.data == "episodes", config.games.evaluation
        seats = config.num_seeds if training else 0
        self.training = self._group(config, "training", seats, config.env.n_envs, waits)
        width = min(width, config.evaluation.episodes)
        self.evaluation = self._group(config, "evaluation", 1, width, True)
        if training:
            games = range(seats * config.env.n_envs)
            self._starter = threading.Thread(
                target=self._start, args=(self._pools[0], games), daemon=True
            )
            self._starter.start()

    def _group(self, config: Config, name: str, seats: int, n_games: int, waits: bool) -> Group:
        pool = Pool(
            seats * n_games, self._sizes, self._game, self._settings,
            config.games.python, config.games.watchdog,
        )  # fmt: skip
        self._pools.append(pool)
        return Group(
            pool, seats, n_games, waits, partial(self._note, name), self.give_up,
            lambda: self._failure is not None,
        )  # fmt: skip

    def _start(self, pool: Pool, games: range) -> None:
        """Start processes, so many at once that they do not starve each other."""
        wave = max(os.cpu_count() or 1, 2)
        for game in games:
            while sum(map(pool.is_starting, games)) >= wave:
                if self._closing.wait(0.05):
                    return
            pool.launch(game)

    def _note(self, group: str, event: str, seat: int, turn: int, game: int, **more: Any) -> None:
        line = {"time": round(time.time(), 3), "group": group, "seat": seat, "turn": turn}
        line |= {"game": game, "event": event, **more}
        if self._file is not None:
            with self._lock, open(self._file, "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")

    def give_up(self, reason: str) -> None:
        """Play no more: every further row is that of an episode that broke off."""
        with self._lock:
            first, self._failure = self._failure is None, self._failure or reason
        if first:
            self._note("all", "gave_up", -1, -1, -1, detail=reason)

    def check(self) -> None:
        """Raise ``GamesError`` if they gave up."""
        if self._failure is not None:
            raise GamesError(f"the games gave up: {self._failure}")

    def report(self) -> dict[str, np.ndarray]:
        """Counts of each seat since the last report, and the mean milliseconds of a step."""
        seats = self.training.seats
        found = {
            **{
                f"games_{name}": np.array([getattr(seat, name) for seat in seats])
                for name in ("faults", "broken", "restarted", "recycled")
            },
            "games_step_ms": np.array(
                [1000 * seat.seconds / seat.steps if seat.steps else np.nan for seat in seats]
            ),
        }
        for seat in seats:
            seat.new_report()
        return found

    def close(self) -> None:
        """End all of them. It may be called again."""
        self._closing.set()
        if self._starter is not None:
            self._starter.join()
        for pool in self._pools:
            pool.close()


class Calls:
    """A group of games that is not opened yet, as ``envs.outside.Host``."""

    def __init__(self, games: Games, name: str) -> None:
        self._games, self._name = games, name

    def reset(self, *arguments: Any) -> tuple[np.ndarray, np.ndarray, Rows]:
        """See ``Group.reset``."""
        return getattr(self._games, self._name).reset(*arguments)

    def step(self, *arguments: Any) -> tuple[np.ndarray, Rows]:
        """See ``Group.step``."""
        return getattr(self._games, self._name).step(*arguments)
