"""The client with SMACv2's and pysc2's own code, on the toy StarCraft II.

SMACv2 is on no package index: these run where it is installed, or where SMACV2_SOURCE names a copy
of its repository.
"""

import os
from types import SimpleNamespace

import fake_game
import numpy as np
import pytest
from test_pool import nothing_left

from knife_jax.envs.smacv2.pool import FaultError, Pool
from knife_jax.envs.smacv2.worker.client import BrokenGameError, Smacv2
from knife_jax.envs.smacv2.worker.rows import Order
from knife_jax.envs.smacv2.worker.scenarios import (
    HEALTH,
    UNITS,
    Task,
    expected_reward,
    scenario,
    settings,
    sizes,
)

SOURCE = os.environ.get("SMACV2_SOURCE")
for module in ("pysc2", "websockets"):
    pytest.importorskip(module, reason="needs the extra dev, and pysc2 without its requirements")
if not SOURCE:
    pytest.importorskip("smacv2", reason="SMACv2 is on no package index: see SMACV2_SOURCE")


class Player:
    """A game in a process of its own, played with random actions."""

    def __init__(self, pool, seed=0):
        self.pool, self.random, self.shoots = pool, np.random.default_rng(seed), False

    def row(self, name):
        return self.pool.rows[name][0].copy()

    def reset(self, episode=0, task=0):
        self.pool.launch(0)
        self.pool.send(0, b"r", Order(task, 5, 0, episode))
        return self.pool.recv(0)

    def step(self):
        avail = self.row("avail_actions")
        wish = self.random.random(avail.shape)
        if self.shoots:  # all at the first enemy in reach, else stop
            wish = np.r_[[0.5, 2.0], np.ones(4), 20.0 - np.arange(avail.shape[1] - 6)]
        self.pool.rows["action"][0] = np.argmax(np.where(avail, wish, -1.0), axis=-1)
        self.pool.send(0, b"s")
        self.pool.recv(0)

    def episode(self, number=0, task=0):
        """The sum of rewards, the length, and how it ended."""
        self.reset(number, task)
        total = 0.0
        for steps in range(1, 201):
            self.step()
            total += float(self.row("reward"))
            ended, cut = bool(self.row("terminated")), bool(self.row("truncated"))
            if ended or cut:
                return total, steps, ended, cut, bool(self.row("won"))
        raise AssertionError("no end")


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Starts a player of a battle, on a game with faults."""
    pools = []

    def made(name, *faults, tasks=None, reward_scale="expected", obs="upstream", padded=False,
             loop_limit=500_000, watchdog=20.0, **game):  # fmt: skip
        home = tmp_path / f"game{len(pools)}"
        home.mkdir()
        for key, value in fake_game.install(home, faults, **game).items():
            monkeypatch.setenv(key, value)
        monkeypatch.setenv("PYTHONPATH", SOURCE or "")
        told = settings(name, tasks or [Task(scenario(name).race)], reward_scale, obs, padded)
        told["loop_limit"] = loop_limit
        pools.append(Pool(1, sizes(name, padded), "worker.client:Smacv2", told, None, watchdog))
        return Player(pools[-1])

    yield made
    for pool in pools:
        pool.close()


@pytest.mark.parametrize("name", ["terran_5_vs_5", "protoss_5_vs_5", "zerg_10_vs_11"])
def test_whole_episodes_of_every_race(name, play):
    player = play(name)
    for number in range(2):
        player.reset(number)
        assert player.row("obs").any(-1).all() and player.row("avail_actions").any(-1).all()
        _, steps, ended, cut, _ = player.episode(number)
        assert 5 < steps <= 200 and ended != cut
        assert player.row("state").any() and player.row("avail_actions").any(-1).all()


def test_equal_orders_are_equal_battles(play):
    """On the toy, which is deterministic; a game that is started anew draws the same team."""
    first = play("terran_5_vs_5")
    one = [first.episode(0), first.row("obs").tolist()]
    again = play("terran_5_vs_5")
    assert one == [again.episode(0), again.row("obs").tolist()]
    other = play("terran_5_vs_5")
    assert one != [other.episode(1), other.row("obs").tolist()]


def test_a_won_battle_returns_20(play):
    """No enemy survives, so that all of their health was dealt, with the scale that expects it."""
    task = Task("terran", (0.0, 1.0, 0.0), enemy_weights=(1.0, 0.0, 0.0))
    player = play("terran_5_vs_5", tasks=[task])
    player.shoots = True
    assert expected_reward(task, 5, 5) == 5 * HEALTH["marine"] + 5 * 10 + 200
    for number in range(30):
        total, _, _, _, won = player.episode(number)
        if won:
            assert abs(total - 20) < 1e-4
            return
    raise AssertionError("not one of 30 battles was won")


class AtItsLimit:
    """What upstream's environment says at its time limit: ended, not won, one more timeout."""

    force_restarts, timeouts, agents, enemies = 0, 0, {}, {}

    def __init__(self):
        raw = SimpleNamespace(units=[])
        self._obs = SimpleNamespace(observation=SimpleNamespace(game_loop=8, raw_data=raw))

    def step(self, actions):
        self._obs.observation.game_loop += 8
        self.timeouts += 1
        return 0.25, True, {"battle_won": False}

    def get_obs(self):
        return [np.ones(82, np.float32)] * 5

    def get_state(self):
        return np.ones(120)

    def get_avail_actions(self):
        return [[0] + [1] * 10] * 5


@pytest.mark.parametrize(("timeouts", "ended", "cut"), [(1, False, True), (0, True, False)])
def test_the_time_limit_is_no_defeat(timeouts, ended, cut, monkeypatch):
    told = settings("terran_5_vs_5", [Task("terran")], "expected", "upstream")
    client, env = Smacv2(told), AtItsLimit()
    vars(client).update(_env=env, _race="terran", _restarts=0, _timeouts=1 - timeouts, _loop=8)
    row = client.step([1] * 5)
    assert (row.terminated, row.truncated, row.won, row.reward) == (ended, cut, False, 0.25)
    monkeypatch.setattr(env, "step", lambda _: (0, True, {}))
    with pytest.raises(BrokenGameError, match="crashed in a step"):
        client.step([1] * 5)
    monkeypatch.setattr(env, "step", lambda _: (0, False, {"battle_won": False}))
    with pytest.raises(BrokenGameError, match="went on by 0 loops, not 8"):
        client.step([1] * 5)


def test_races_have_equal_sizes_if_padded_and_a_zero_where_there_are_no_shields(play):
    name = "terran_5_vs_5"
    player = play(name, tasks=[Task("terran"), Task("protoss")], padded=True)
    player.reset(0, 0)
    enemies = player.row("obs")[:, 4 : 4 + 45].reshape(5, 5, 9)
    state = player.row("state")[:40].reshape(5, 8)
    assert not enemies[..., 5].any() and not state[:, 4].any() and (state[:, 0] == 1).all()
    assert (state[:, 5:].sum(1) == 1).all()
    player.reset(1, 1)
    assert (player.row("state")[:40].reshape(5, 8)[:, 4] == 1).all()


def test_fixed_observations_hide_no_enemy_in_sight(play):
    """Wherever upstream shows an enemy, the fixed form does, too, and it shows more."""
    seen = {}
    for obs in ("upstream", "fixed"):
        player = play("terran_10_vs_10", obs=obs, tasks=[Task("terran", reflect=1.0)])
        player.reset()
        rows = [player.row("obs")]
        for _ in range(25):
            player.step()
            rows.append(player.row("obs"))
        seen[obs] = np.stack(rows)[..., 4 : 4 + 80].reshape(26, 10, 10, 8)[..., 4] > 0
    assert (seen["fixed"] | ~seen["upstream"]).all()
    assert seen["fixed"].sum() > seen["upstream"].sum()


@pytest.mark.parametrize(
    ("kind", "at_request", "said"),
    [
        ("crash", "step", "crashed|ConnectionError|ProtocolError"),
        ("crash", "create_game", "ConnectionError|ProtocolError|crashed"),
        ("crash", "launch", "SC2LaunchError|ConnectError"),
        ("hang", "step", "silent for"),
        ("close", "observation", "crashed"),
        ("error", "step", "crashed|RequestError|ProtocolError"),
        ("garbage", "observation", "DecodeError|crashed"),
        ("silence", "action", "silent for"),
        ("units", "create_unit", "CannotResetException|were spawned"),
        ("kill_without_effect", "kill_unit", "silent for"),
    ],
)
def test_a_fault_of_the_game_ends_the_worker(kind, at_request, said, play, tmp_path):
    """None goes by as the end of an episode, and a new process plays on."""
    fault = {"kind": kind, "request": at_request, "once": str(tmp_path / "once")}
    if at_request in ("step", "observation", "action"):
        fault["at"] = 20
    player = play("zerg_5_vs_5", fault, watchdog=2.0)
    with pytest.raises(FaultError, match=said):
        for number in range(9):
            player.episode(number)
    player.pool.kill(0)
    assert player.episode(1)[1] > 5


def test_a_game_is_left_before_its_limit_and_no_step_is_lost(play):
    player = play("zerg_5_vs_5", loop_limit=5_000, end_at_loop=5_000)
    recycled = 0
    for number in range(24):
        recycled += player.reset(number)
        for _ in range(200):
            player.step()
            if player.row("terminated") or player.row("truncated"):
                break
    assert recycled >= 3


def test_nothing_is_left(play, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    player = play("terran_5_vs_5")
    player.reset()
    player.pool.close()
    assert nothing_left(tmp_path) and set(UNITS) == {"terran", "protoss", "zerg"}
