"""Seats of games as rows of environments: turns, tasks, episodes that end, wait or break off."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from knife_jax.envs.smacv2.pool import FaultError, Pool, blank
from knife_jax.envs.smacv2.worker.rows import Order

MOST_RESTARTS = 6
"""of one game in a row, without an episode ended between them; after that the games give up"""
TRIES = 3
"""of an episode that cannot be begun, before the next one is tried"""
BACK_OFF = 0.25
"""seconds before the second restart in a row; doubled for each further one"""


class Rows(NamedTuple):
    """Rows of B seats of E games, in the order of ``envs.base.TimeStep``."""

    obs: np.ndarray
    state: np.ndarray
    avail_actions: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    first: np.ndarray
    won: np.ndarray


class Log(Protocol):
    """Notes what happens to a game, as one line of the run's ``games.jsonl``."""

    def __call__(self, event: str, seat: int, turn: int, game: int, **more: Any) -> None:
        """``game`` is its number in its seat."""
        ...


class Seat:
    """The E games of one seed, or of an evaluation."""

    def __init__(self, number: int, n_games: int) -> None:
        self.number, self.turn, self.task, self.key, self.first = number, 0, 0, 0, 0
        self.games = range(number * n_games, (number + 1) * n_games)
        self.episode = np.zeros(n_games, np.int64)
        self.ended = np.ones(n_games, bool)
        """whose row before was a last one, or that wait"""
        self.in_a_row = np.zeros(n_games, np.int64)
        """restarts since the last episode that ended"""
        self.new_report()

    def new_report(self) -> None:
        """Begin to count anew."""
        self.faults, self.broken, self.restarted, self.recycled = 0, 0, 0, 0
        self.seconds, self.steps = 0.0, 0

    def order(self, j: int) -> Order:
        """The episode that game ``j`` is to begin."""
        return Order(self.task, self.key, self.first + j, int(self.episode[j]))


class Group:
    """Seats with equally many games each. ``reset`` and ``step`` never raise.

    Different seats may be used from different threads. See ``envs.outside.Host``.
    """

    def __init__(
        self, pool: Pool, n_seats: int, n_games: int, waits: bool, log: Log,
        give_up: Callable[[str], None], has_given_up: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.pool, self.n_games, self.waits, self._log = pool, n_games, waits, log
        self.seats = [Seat(number, n_games) for number in range(n_seats)]
        self._give_up, self._has_given_up, self._next = give_up, has_given_up, 0

    def reset(
        self, task: np.ndarray, seat: np.ndarray, turn: np.ndarray, key: np.ndarray,
        first: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, Rows]:  # fmt: skip
        """Begin the episodes ``first + j`` of each key in the seats; -1 is the next one."""
        places, due = [], []
        for b in range(len(task)):
            number = int(seat[b])
            if is_new := number < 0:
                number, self._next = self._next, (self._next + 1) % len(self.seats)
            place = self.seats[number]
            places.append(place)
            if self._is_due(place, place.turn if is_new else int(turn[b])):
                place.task, place.first = int(task[b]), int(first[b])
                place.key = int(key[b, 0]) << 32 | int(key[b, 1])
                place.episode[:] = 0
                due.append((place, ["r"] * self.n_games))
        self._play(due)
        began = [np.ones(self.n_games, bool) for _ in places]
        taken = np.array([place.number for place in places], np.int32)
        return taken, *self._after(places, began)

    def step(
        self, task: np.ndarray, seat: np.ndarray, turn: np.ndarray, action: np.ndarray
    ) -> tuple[np.ndarray, Rows]:
        """Take the actions of each seat; games of another task than ``task`` begin that one."""
        places, due = [self.seats[int(number)] for number in seat], []
        first = [np.ones(self.n_games, bool) for _ in places]
        began = time.perf_counter()
        for b, place in enumerate(places):
            if self._is_due(place, int(turn[b])):
                commands = self._commands(place, int(task[b]), action[b])
                due.append((place, commands))
                first[b] = np.array([command != "s" for command in commands])
        broke = self._play(due)
        for place, _ in due:
            place.seconds += time.perf_counter() - began
            place.steps += 1
            first[places.index(place)] |= broke[place.number]
        return self._after(places, first)

    def _after(self, places: list[Seat], first: list[np.ndarray]) -> tuple[np.ndarray, Rows]:
        """The seats' next turns, and copies of their rows."""
        for place in places:
            place.turn += 1
        rows = [self._rows(place, began) for place, began in zip(places, first, strict=True)]
        return np.array([place.turn for place in places], np.int32), _stacked(rows)

    def _is_due(self, seat: Seat, turn: int) -> bool:
        """Whether a call is the seat's next one and the games still play."""
        if turn != seat.turn:
            self._give_up(
                f"turn {turn} of the games of seat {seat.number} was played when turn {seat.turn} "
                "was due: a bug of knife_jax"
            )
        return not self._has_given_up()

    def _commands(self, seat: Seat, task: int, action: np.ndarray) -> list[str | None]:
        """What each game is to do in this turn: step, reset, or wait."""
        commands: list[str | None] = ["s"] * self.n_games
        switched = task != seat.task
        seat.task = task
        for j, game in enumerate(seat.games):
            if switched:
                commands[j] = "r"
                if not seat.ended[j]:
                    self._log("switched", seat.number, seat.turn, j, task=task)
                    seat.broken += 1
            elif seat.ended[j]:
                commands[j] = None if self.waits else "r"
            elif not self._is_legal(game, action[j]):
                return [None] * self.n_games
            if commands[j] == "r":
                seat.episode[j] += 1
            self.pool.rows["action"][game] = action[j]
        return commands

    def _is_legal(self, game: int, action: np.ndarray) -> bool:
        available = self.pool.rows["avail_actions"][game]
        for agent, number in enumerate(action.tolist()):
            if not (0 <= number < available.shape[1] and available[agent, number]):
                options = ", ".join(map(str, np.flatnonzero(available[agent])))
                self._give_up(
                    f"agent {agent} of game {game} chose action {number}, which is not available "
                    f"(available: {options}): a bug of knife_jax"
                )
                return False
        return True

    def _play(self, due: list[tuple[Seat, list[str | None]]]) -> dict[int, np.ndarray]:
        """Tell the games of all seats, and wait for all. Returns which episodes broke off."""
        told = [(seat, j, said) for seat, all in due for j, said in enumerate(all) if said]
        broke = {seat.number: np.zeros(self.n_games, bool) for seat, _ in due}
        for seat, j, _ in told:
            self.pool.launch(seat.games[j])
        for seat, j, said in told:
            broke[seat.number][j] = not self._try(seat, j, partial(self._tell, seat, j, said))
        for seat, j, _ in told:
            if not broke[seat.number][j]:
                broke[seat.number][j] = not self._try(seat, j, partial(self._hear, seat, j))
        for seat, j, said in told:
            game, is_step, lost = seat.games[j], said == "s", bool(broke[seat.number][j])
            if lost:
                self._mend(seat, j, is_step)
            last = self.pool.rows["terminated"][game] | self.pool.rows["truncated"][game]
            seat.ended[j] = is_step and (self.waits if lost else last)
            if seat.ended[j] and not lost:
                seat.in_a_row[j] = 0
        return broke

    def _tell(self, seat: Seat, j: int, command: str) -> None:
        order = seat.order(j) if command == "r" else None
        self.pool.send(seat.games[j], command.encode(), order)

    def _hear(self, seat: Seat, j: int) -> None:
        if self.pool.recv(seat.games[j]):
            seat.recycled += 1
            self._log("recycled", seat.number, seat.turn, j)

    def _try(self, seat: Seat, j: int, act: Callable[[], None]) -> bool:
        """Whether it went well; a fault is noted and the process of the game is started anew."""
        try:
            act()
        except FaultError as fault:
            seat.faults += 1
            self._log("fault", seat.number, seat.turn, j, detail=str(fault))
            self._restart(seat, j, str(fault))
            return False
        return True

    def _restart(self, seat: Seat, j: int, reason: str) -> None:
        game = seat.games[j]
        self.pool.kill(game)
        seat.in_a_row[j] += 1
        if seat.in_a_row[j] > MOST_RESTARTS:
            self._give_up(
                f"game {j} of seat {seat.number} was started {MOST_RESTARTS + 1} times without "
                f"ending an episode, the last time: {reason}"
            )
        if self._has_given_up():
            return
        if seat.in_a_row[j] > 1:
            time.sleep(BACK_OFF * 2.0 ** (seat.in_a_row[j] - 2))
        self.pool.launch(game)
        seat.restarted += 1
        self._log("restarted", seat.number, seat.turn, j)

    def _mend(self, seat: Seat, j: int, was_playing: bool) -> None:
        """Begin another episode in a game that was started anew, unless its round is over."""
        if was_playing:
            seat.broken += 1
            self._log("broken", seat.number, seat.turn, j, episode=int(seat.episode[j]))
            if self.waits:
                return
            seat.episode[j] += 1
        tries = 0
        while not self._has_given_up() and not self._try(seat, j, partial(self._begin, seat, j)):
            tries += 1
            seat.episode[j] += tries % TRIES == 0

    def _begin(self, seat: Seat, j: int) -> None:
        self._tell(seat, j, "r")
        self._hear(seat, j)

    def _rows(self, seat: Seat, first: np.ndarray) -> Rows:
        """A copy of a seat's rows. Those of games that gave up say nothing."""
        games = slice(seat.games.start, seat.games.stop)
        if self._has_given_up():
            first = np.ones_like(first)
            blank(self.pool.rows, games)
        told = [name for name in Rows._fields if name != "first"]
        found = {name: self.pool.rows[name][games].copy() for name in told}
        for name in ("reward", "terminated", "truncated", "won"):
            found[name][first] = 0
        return Rows(**found, first=first.copy())


def _stacked(rows: list[Rows]) -> Rows:
    return Rows(*(np.stack(arrays) for arrays in zip(*rows, strict=True)))
