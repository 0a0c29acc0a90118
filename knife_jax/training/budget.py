"""What a run comes to, in whole numbers of any size: its rounds, and in which of them it learns."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

import jax.numpy as jnp

from knife_jax.clock import NEVER, Clock


class Budget(NamedTuple):
    """A round is ``round_steps`` environment steps, then ``updates`` gradient steps if the replay
    holds ``waits`` rounds by then. A task takes the rounds that begin in it, and one at least."""

    round_steps: int
    rounds: int
    waits: int
    updates: int
    task_steps: int | None = None
    """environment steps from one task of a sequence to the next; None without one"""
    clear_replay: bool = False
    """whether the replay is emptied as a task begins"""

    @property
    def env_steps(self) -> int:
        """The environment steps of all rounds."""
        return self.rounds * self.round_steps

    def task(self, rounds: int) -> int:
        """The task of the round after so many."""
        return rounds * self.round_steps // self._apart if self.task_steps else 0

    def begins(self, task: int) -> int:
        """The rounds before the first one of a task."""
        return -(-task * self._apart // self.round_steps)

    @property
    def _apart(self) -> int:
        return max(self.task_steps or 0, self.round_steps)

    def updates_from(self, rounds: int = 0, replay_since: int = 0) -> int:
        """The gradient steps between so many rounds and the end; see ``Clock`` for the second."""
        return self.updates * self._learning_from(rounds, replay_since)

    def _learning_from(self, rounds: int, since: int) -> int:
        if not (self.clear_replay and self.task_steps and rounds < self.rounds):
            return self._learning(rounds, self.rounds, since)
        now, last = self.task(rounds), self.task(self.rounds - 1)
        since = rounds if rounds == self.begins(now) else since
        if now == last:
            return self._learning(rounds, self.rounds, since)
        first_end, last_begin = self.begins(now + 1), self.begins(last)
        # whole tasks between them are of two lengths, which differ by a round
        short, whole = self._apart // self.round_steps, last - now - 1
        longer = last_begin - first_end - whole * short
        return (
            self._learning(rounds, first_end, since)
            + longer * self._learning(0, short + 1, 0)
            + (whole - longer) * self._learning(0, short, 0)
            + self._learning(last_begin, self.rounds, last_begin)
        )

    def _learning(self, begin: int, end: int, since: int) -> int:
        return max(0, end - max(begin, since + max(self.waits - 1, 0)))

    def plan(self, clock: Clock) -> Clock:
        """The Clock of a run that begins or goes on with this budget."""
        rounds, since = int(clock.rounds), int(clock.replay_since)
        planned = int(clock.updates) + self.updates_from(rounds, since)
        return clock._replace(budget=jnp.int32(self.rounds), planned=jnp.int32(planned))

    def largest(self) -> int:
        """The most environment steps that can be counted: rounds and gradient steps in 32 bits."""
        longer = bisect_left(
            range(NEVER), NEVER, key=lambda n: self._replace(rounds=n).updates_from()
        )
        return (longer - 1) * self.round_steps
