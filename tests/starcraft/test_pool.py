"""Games in NumPy, each in a process of its own: rows, faults, giving up, and what is left."""

import ast
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy_games import KINDS, SIZES, Guessing

from knife_jax.envs.smacv2 import pool as pools
from knife_jax.envs.smacv2.group import MOST_RESTARTS, Group, Rows
from knife_jax.envs.smacv2.pool import FaultError, Pool
from knife_jax.envs.smacv2.worker.rows import Order

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SEATS, GAMES, KEY = 2, 3, (2**31 + 5, 7)
ZEROS = np.zeros(SEATS, np.int32)
WATCHDOG = 0.8
"""seconds; a game may take three times as long to start, beside other work on the machine too"""


@contextmanager
def group(seats=SEATS, n_games=GAMES, waits=False, watchdog=0.5, **settings):
    """A group, its events and what it gave up for."""
    events, reasons = [], []
    pool = Pool(
        seats * n_games, SIZES, "numpy_games:Guessing", {"path": [str(HERE)], **settings}, None,
        watchdog,
    )  # fmt: skip

    def log(event, seat, turn, game, **more):
        events.append((event, seat, game, more))

    try:
        yield (
            Group(pool, seats, n_games, waits, log, reasons.append, lambda: bool(reasons)),
            events,
            reasons,
        )
    finally:
        pool.close()


def keys(n=SEATS):
    return np.array([(KEY[0], KEY[1] + seat) for seat in range(n)], np.uint32)


def reset(games, seats=None, task=0, first=0):
    n = len(games.seats)
    seats = np.full(n, -1, np.int32) if seats is None else seats
    turns = np.array([seat.turn for seat in games.seats], np.int32)
    whole = np.full(n, task, np.int32), seats, turns, keys(n), np.full(n, first, np.int32)
    return games.reset(*whole)


def choose(random, rows):
    """Random actions that are available."""
    noise = np.where(rows.avail_actions, random.random(rows.avail_actions.shape), -1)
    return np.argmax(noise, axis=-1).astype(np.int32)


def play(games, steps, seed=0, tasks=None):
    """Rows of ``steps`` steps, with the first ones; and the actions."""
    random = np.random.default_rng(seed)
    seat, turn, rows = reset(games)
    seen, actions = [rows], []
    for step in range(steps):
        actions.append(choose(random, rows))
        task = np.full(len(seat), tasks[step] if tasks else 0, np.int32)
        turn, rows = games.step(task, seat, turn, actions[-1])
        seen.append(rows)
    return Rows(*(np.stack(parts) for parts in zip(*seen, strict=True))), np.stack(actions)


def alone(rows, actions, seat, game, tasks=None):
    """Play one game's episodes again by itself: all its rows must be these."""
    episode, ended, one, broken = 0, False, None, 0
    for at in range(len(rows.first)):
        now = [leaf[at, seat, game] for leaf in rows]
        if rows.first[at, seat, game]:
            broken += at > 0 and not ended
            one = Guessing({})
            key = int(keys()[seat][0]) << 32 | int(keys()[seat][1])
            task = tasks[at - 1] if tasks and at else 0
            expected = one.reset(Order(task, key, game, episode))
            episode += 1
        else:
            expected = one.step(actions[at - 1, seat, game])
        for name, value in expected._asdict().items():
            assert np.array_equal(getattr(rows, name)[at, seat, game], value), (at, name)
        ended = bool(now[4] or now[5])
    return broken


def test_rows_are_those_of_games_played_alone():
    with group() as (games, events, reasons):
        rows, actions = play(games, 60)
    for seat, game in np.ndindex(SEATS, GAMES):
        assert alone(rows, actions, seat, game) == 0
    assert events == reasons == [] and rows.terminated.any() and rows.truncated.any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_ends_an_episode_and_nothing_else(kind):
    """All rows, of the games with faults and of the others, are those of games played alone."""
    with group(faults=0.015, kinds=[kind], watchdog=WATCHDOG) as (games, events, reasons):
        rows, actions = play(games, 50, seed=3)
        counted = [(seat.faults, seat.broken, seat.restarted) for seat in games.seats]
    broken = np.zeros(SEATS, int)
    for seat, game in np.ndindex(SEATS, GAMES):
        broken[seat] += alone(rows, actions, seat, game)
    for seat in range(SEATS):
        named = [sum(e[:2] == (name, seat) for e in events) for name in ("fault", "broken")]
        assert counted[seat] == (named[0], broken[seat], named[0]) and named[1] == broken[seat]
    assert broken.sum() > 0 and reasons == []
    said = {"raise": "ValueError: a fault of the game", "exit": "ended with 3",
            "kill": "SIGKILL: out of memory?", "hang": f"silent for {WATCHDOG} seconds",
            "garbage": "garbage", "close": "its process ended with 0"}[kind]  # fmt: skip
    details = [more["detail"] for event, *_, more in events if event == "fault"]
    assert all(said in detail for detail in details), details


def test_two_equal_runs_are_equal_with_their_faults():
    def once():
        with group(faults=0.03, kinds=["raise", "exit"]) as (games, events, _):
            return *play(games, 25), events

    first, second = once(), once()
    assert all(np.array_equal(a, b) for a, b in zip(first[0], second[0], strict=True))
    assert first[2] == second[2] != []


def test_another_task_begins_at_once():
    tasks = [0] * 10 + [1] * 15 + [0] * 10
    with group() as (games, events, _):
        rows, actions = play(games, len(tasks), tasks=tasks)
    for seat, game in np.ndindex(SEATS, GAMES):
        alone(rows, actions, seat, game, tasks)
    assert rows.first[[11, 26]].all()
    assert (rows.state[1:, ..., 2] == np.array(tasks)[:, None, None]).all()
    assert {event for event, *_ in events} == {"switched"}


def test_ended_games_wait_for_their_round():
    with group(waits=True) as (games, _, _):
        rows, _ = play(games, 12)
        lengths = 4 + np.round(rows.state[0, ..., 0] * 1000).astype(int) % 6
        for at in range(1, 13):
            over = at > lengths
            assert (rows.first[at] == over).all() and not rows.reward[at][over].any()
            assert rows.avail_actions[at].any(-1).all()
        _, _, again = reset(games, np.arange(SEATS, dtype=np.int32), first=5)
        expected = Guessing({}).reset(Order(0, KEY[0] << 32 | KEY[1], 5 + 2, 0))
        assert np.array_equal(again.obs[0, 2], expected.obs) and again.first.all()


@pytest.mark.parametrize("width", [1, 2, 3])
def test_an_evaluation_plays_the_same_episodes_whatever_its_width(width):
    seen = []
    with group(1, width, waits=True) as (games, _, _):
        for first in range(0, 6, width):
            seen += [*reset(games, first=first)[2].obs[0]]
    key = int(keys()[0][0]) << 32 | int(keys()[0][1])
    for number, obs in enumerate(seen):
        assert np.array_equal(obs, Guessing({}).reset(Order(0, key, number, 0)).obs)


@pytest.mark.parametrize("turn", [0, 2])
def test_a_wrong_turn_is_caught_and_all_rows_break_off(turn):
    with group() as (games, _, reasons):
        _, _, rows = reset(games)
        action = choose(np.random.default_rng(0), rows)
        wrong = np.full(SEATS, turn, np.int32)
        for _ in range(2):
            turns, rows = games.step(ZEROS, np.arange(SEATS), wrong, action)
            assert rows.first.all() and not rows.reward.any() and not rows.terminated.any()
            assert rows.avail_actions.any(-1).all() and not rows.obs.any()
        assert turns.tolist() == [3, 3]
    assert reasons[0] == (
        f"turn {turn} of the games of seat 0 was played when turn 1 was due: a bug of knife_jax"
    )


def test_an_action_that_is_not_available_is_never_sent():
    with group() as (games, _, reasons):
        seat, turn, rows = reset(games)
        action = choose(np.random.default_rng(0), rows)
        action[1, 2, 0] = wrong = int(np.argmin(rows.avail_actions[1, 2, 0]))
        games.step(ZEROS, seat, turn, action)
        options = ", ".join(str(i) for i in range(3) if i != wrong)
    assert reasons == [
        f"agent 0 of game 5 chose action {wrong}, which is not available (available: {options}): a "
        "bug of knife_jax"
    ]


def test_a_game_that_cannot_be_started_gives_up(tmp_path, monkeypatch):
    monkeypatch.setattr("knife_jax.envs.smacv2.group.BACK_OFF", 0.001)
    with group(missing=str(tmp_path)) as (games, events, reasons):
        _, _, rows = reset(games)
        assert rows.first.all()
        began = time.perf_counter()
        games.step(ZEROS, np.arange(SEATS), np.ones(SEATS), np.zeros((SEATS, GAMES, 2), np.int32))
        assert time.perf_counter() - began < 0.5
    assert reasons[0] == (
        f"game 0 of seat 0 was started {MOST_RESTARTS + 1} times without ending an episode, the "
        "last time: FileNotFoundError: no game"
    )
    assert sum(event == "restarted" for event, *_ in events) >= MOST_RESTARTS


def test_a_game_is_started_anew_before_its_limit():
    with group(1, 2, limit=14) as (games, events, reasons):
        play(games, 220)
        assert games.seats[0].recycled == len(events) >= 20 and games.seats[0].faults == 0
    assert {event for event, *_ in events} == {"recycled"} and reasons == []


def test_seats_of_one_call_play_at_the_same_time(tmp_path):
    """Each game waits within its step for all others; alone it would be silent for too long."""
    with group(4, 1, watchdog=60, meeting=[str(tmp_path), 4]) as (games, events, reasons):
        seat, turn, rows = reset(games)
        for _ in range(3):
            action = choose(np.random.default_rng(0), rows)
            turn, rows = games.step(np.zeros(4, np.int32), seat, turn, action)
    met = {step.name: len([*step.iterdir()]) for step in tmp_path.iterdir()}
    assert met == {"1": 4, "2": 4, "3": 4} and events == reasons == []


def test_a_game_that_could_not_be_reset_at_first_plays_its_round(tmp_path):
    with group(1, 2, waits=True, stumbles=str(tmp_path / "once")) as (games, events, _):
        rows, _ = play(games, 4)
        expected = [Guessing({}).reset(Order(0, KEY[0] << 32 | KEY[1], j, 0)) for j in range(2)]
    assert {event for event, *_ in events} == {"fault", "restarted"}
    assert not rows.first[1:].any()
    for j in range(2):
        assert np.array_equal(rows.obs[0, 0, j], expected[j].obs)


def test_games_that_gave_up_start_nothing():
    with group() as (games, _, reasons):
        reasons.append("given up before")
        seat, _, rows = reset(games)
        assert rows.first.all() and rows.avail_actions.any(-1).all()
        assert seat.tolist() == [0, 1] and games.pool._workers == [None] * (SEATS * GAMES)


def test_files_where_the_trainer_runs_are_not_taken_for_the_workers(tmp_path, monkeypatch):
    for name in ("worker", "types", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(f'{__name__} of the user')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("knife_jax.envs.smacv2.group.MOST_RESTARTS", 0)
    with group(1, 1, watchdog=5) as (games, events, reasons):
        reset(games)
    assert events == reasons == []


def test_whether_a_game_is_starting_is_told_without_waiting(tmp_path, monkeypatch):
    """Another thread may wait for the same process, and take its answer."""
    waits = []

    class Poll:
        def __init__(self):
            self.said = select.poll()
            self.register = self.said.register

        def poll(self, *timeout):
            waits.append(timeout)
            return self.said.poll(*timeout)

    looking = SimpleNamespace(poll=Poll, POLLIN=select.POLLIN)
    monkeypatch.setattr(pools, "select", looking)
    told = {"path": [str(HERE)], "begin": str(tmp_path / "begin")}
    pool = Pool(1, SIZES, "numpy_games:Guessing", told, None, 5.0)
    pool.launch(0)
    worker = pool._workers[0]
    control = worker.control
    worker.control = SimpleNamespace(fileno=control.fileno)  # nothing is received
    assert pool.is_starting(0)
    (tmp_path / "begin").touch()
    while pool.is_starting(0):
        time.sleep(0.01)
    assert control.recv(1) == b"."
    assert pool.is_starting(0) and {*waits} == {(0,)}
    worker.control = control
    pool.close()
    assert not pool.is_starting(0)


def test_a_game_of_other_sizes_is_refused(monkeypatch):
    told = {"path": [str(HERE)]}
    pool = Pool(1, SIZES._replace(horizon=8), "numpy_games:Guessing", told, None, 5.0)
    pool.launch(0)
    with pytest.raises(FaultError, match=r"ValueError: the game has .*horizon=9\), expected"):
        pool.send(0, b"r", Order(0, 0, 0, 0))
    pool.close()


def processes(folder, word=b""):
    """Those of games whose temporary files lie in ``folder``, by a word of their command."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            mine = f"TMPDIR={folder}/knife-game-".encode() in (path / "environ").read_bytes()
            if mine and word in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def left(folder):
    """How many processes and folders of games there are."""
    return len(processes(folder)), len([*Path(folder).glob("knife-game-*")])


def nothing_left(folder, seconds=5.0):
    end = time.monotonic() + seconds
    while left(folder) != (0, 0):
        assert time.monotonic() < end, left(folder)
        time.sleep(0.02)
    return True


DRIVER = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
from test_pool import group, reset, play
with group(child=True, watchdog=60) as (games, events, reasons):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    reset(games)
    print("up", flush=True)
    if sys.argv[2] != "end":
        time.sleep(60)
"""


@pytest.mark.parametrize(
    ("how", "number", "code"),
    [("end", None, 0), ("TERM", signal.SIGTERM, 143), ("KILL", signal.SIGKILL, -9)],
)
def test_nothing_is_left_when_the_trainer_ends(how, number, code, tmp_path, forks):
    env = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": f"{HERE}:{ROOT}"}
    process = forks.start(["python", "-c", DRIVER, str(HERE), how], env=env)
    while process.poll() is None and not (process.out.exists() and process.out.read_text()):
        time.sleep(0.01)
    assert process.out.read_text() == "up\n", process.err.read_text()
    if number:
        assert left(tmp_path) == (2 * SEATS * GAMES, SEATS * GAMES)
        process.send_signal(number)
    assert process.wait() == code and nothing_left(tmp_path)


def test_nothing_is_left_of_a_worker_that_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with group(1, 2, child=True) as (games, _, _):
        reset(games)
        assert left(tmp_path) == (4, 2)
        os.kill(games.pool._workers[0].process.pid, signal.SIGKILL)
        one = np.zeros(1, np.int32)
        _, rows = games.step(one, one, one + 1, choose(np.random.default_rng(), games._rows(
            games.seats[0], np.zeros(2, bool)))[None])  # fmt: skip
        assert rows.first.tolist() == [[True, False]] and left(tmp_path) == (4, 2)
    assert nothing_left(tmp_path)


def test_a_worker_needs_numpy_alone_and_no_new_python():
    folder = Path(pools.__file__).parent / "worker"
    for path in sorted(folder.glob("*.py")):
        tree = ast.parse(path.read_text(), feature_version=(3, 8))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert not str(node.module).startswith("knife_jax")
            elif isinstance(node, ast.Import):
                assert not any(alias.name.startswith("knife_jax") for alias in node.names)
    check = (
        "import worker.client, worker.__main__, sys; "
        "print('jax' in sys.modules, 'knife_jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], env=os.environ | {"PYTHONPATH": str(folder.parent)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False False\n"
