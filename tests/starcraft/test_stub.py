"""The stub server under pysc2 alone: what its client sees of a game, and of each fault."""

import subprocess
import time

import fake_game
import pytest

WHY = "needs pys2clientprotocol, websockets, websocket-client, portpicker, absl-py and pysc2"
pytest.importorskip("websockets", reason=WHY)
run_configs = pytest.importorskip("pysc2.run_configs", reason=WHY)
protocol = pytest.importorskip("pysc2.lib.protocol", reason=WHY)
controllers = pytest.importorskip("pysc2.lib.remote_controller", reason=WHY)
flags = pytest.importorskip("absl.flags", reason=WHY)
messages = pytest.importorskip("google.protobuf.message", reason=WHY)
common = pytest.importorskip("s2clientprotocol.common_pb2", reason=WHY)
debug = pytest.importorskip("s2clientprotocol.debug_pb2", reason=WHY)
raw = pytest.importorskip("s2clientprotocol.raw_pb2", reason=WHY)
pb = pytest.importorskip("s2clientprotocol.sc2api_pb2", reason=WHY)

MARINE = 295  # the map's own: fifth of the last nine of 300


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a game with these faults; all that were started are ended."""
    flags.FLAGS(["test"])
    started = []

    def start(*faults, **settings):
        for name, value in fake_game.install(tmp_path, faults, **settings).items():
            monkeypatch.setenv(name, value)
        process = run_configs.get().start(want_rgb=False, timeout_seconds=20)
        started.append((process, process.controller._client._sock))
        return process.controller

    yield start
    for process, socket in started:
        process.close()
        socket.shutdown()  # pysc2 leaves it open when it was the server that closed


def begin(game, seed=5):
    create = pb.RequestCreateGame(
        local_map=pb.LocalMap(map_path="m", map_data=b"m"), random_seed=seed
    )
    create.player_setup.add(type=pb.Participant)
    game.create_game(create)
    game.join_game(pb.RequestJoinGame(race=1, options=pb.InterfaceOptions(raw=True)))


def spawn(game, n):
    """As many marines a side, 10 cells apart."""
    game.debug(
        [
            debug.DebugCommand(
                create_unit=debug.DebugCreateUnit(
                    unit_type=kind, owner=owner, pos=common.Point2D(x=x, y=16), quantity=1
                )
            )
            for kind, owner, x in ((MARINE, 1, 11), (48, 2, 21))
            for _ in range(n)
        ]
    )
    game.step(1)


def units(game):
    return game.observe().observation.raw_data.units


def wait_for_counts(folder, launches):
    """The last launches' counts, once their processes have left."""
    end = time.monotonic() + 20
    while {} in (counts := fake_game.requests(folder)) or len(counts) < launches:
        assert time.monotonic() < end, counts
        time.sleep(0.05)
    return counts


def test_a_game_is_what_the_client_reads(start, tmp_path):
    game = start()
    begin(game)
    info = game.game_info().start_raw
    assert (info.map_size.x, info.playable_area.p1.y, len(info.pathing_grid.data)) == (32, 32, 128)
    names = [unit.name for unit in game.data_raw().units]
    assert len(names) == 300 and names[MARINE] == "Marine" and names[-9] == "Baneling"
    spawn(game, 2)
    before = units(game)
    assert [(u.unit_type, u.owner, u.health, u.health_max) for u in before] == [
        *[(MARINE, 1, 45, 45)] * 2,
        *[(48, 2, 45, 45)] * 2,
    ]
    command = raw.ActionRawUnitCommand(
        ability_id=16,
        unit_tags=[before[0].tag],
        target_world_space_pos=common.Point2D(x=before[0].pos.x, y=before[0].pos.y + 2),
    )
    game.act(pb.Action(action_raw=raw.ActionRaw(unit_command=command)))
    game.step(8)
    after = game.observe().observation
    assert after.game_loop == 9  # it moved in the ninth loop alone: new units stand still
    assert after.raw_data.units[0].pos.y == pytest.approx(before[0].pos.y + 0.14, abs=1e-4)
    kill = debug.DebugKillUnit(tag=[unit.tag for unit in before])
    game.debug(debug.DebugCommand(kill_unit=kill))
    assert len(units(game)) == 0
    game.quit()
    assert wait_for_counts(tmp_path, 1) == [
        {"launch": 1, "ping": 1, "create_game": 1, "join_game": 1, "game_info": 1, "data": 1}
        | {"debug": 2, "create_unit": 1, "kill_unit": 1, "step": 2, "observation": 3}
        | {"action": 1, "quit": 1}
    ]


def test_a_game_ends_at_its_loop_and_the_next_of_the_same_seed_is_the_same(start):
    def play(seed):
        begin(game, seed)
        spawn(game, 2)
        game.step(150)
        seen = str(units(game))
        assert game.status == protocol.Status.ended
        with pytest.raises(protocol.ProtocolError):
            game.actions(pb.RequestAction())
        return seen

    game = start(end_at_loop=151)
    assert play(5) == play(5) != play(6)


def test_a_request_can_fail_while_the_game_lives(start):
    game = start(
        {"kind": "error", "request": "ping", "at": 2},
        {"kind": "garbage", "request": "ping", "at": 3},
        {"kind": "silence", "request": "ping", "at": 4},
        {"kind": "units", "request": "create_unit", "at": 1},
        {"kind": "kill_without_effect", "request": "kill_unit", "at": 1},
        sleep=0.1,
    )
    begin(game)
    with pytest.raises(protocol.ProtocolError, match="fault of the stub"):
        game.ping()
    with pytest.raises(messages.DecodeError):
        game.ping()
    game._client._sock.settimeout(0.3)
    with pytest.raises(protocol.ConnectionError, match="timed out"):
        game.ping()
    game._client._sock.settimeout(20)
    since = time.monotonic()
    spawn(game, 2)
    assert time.monotonic() - since > 0.1
    before = units(game)
    assert [unit.owner for unit in before] == [1, 2, 2]
    kill = debug.DebugCommand(kill_unit=debug.DebugKillUnit(tag=[u.tag for u in before]))
    game.debug(kill)
    assert len(units(game)) == 3
    game.debug(kill)
    assert len(units(game)) == 0


@pytest.mark.parametrize(
    "kind, error, text",
    [
        ("crash", protocol.ConnectionError, "closed"),
        ("close", protocol.ProtocolError, "empty response"),
        ("hang", protocol.ConnectionError, "timed out"),
    ],
)
def test_a_game_can_be_lost(start, kind, error, text, tmp_path):
    game = start({"kind": kind, "request": "step", "at": 2})
    begin(game)
    game.step(1)
    game._client._sock.settimeout(0.3 if kind == "hang" else 20)
    since = time.monotonic()
    with pytest.raises(error, match=text):
        game.step(1)
    assert time.monotonic() - since < 10
    if kind == "hang":  # nor does it answer anything else
        with pytest.raises(protocol.ConnectionError, match="timed out"):
            game.ping()
    else:
        assert wait_for_counts(tmp_path, 1)[0]["step"] == 2


def test_a_fault_can_be_the_first_launch_alone_and_can_be_drawn(start, tmp_path):
    flag = tmp_path / "flag"
    first = {"kind": "crash", "request": "launch", "once": str(flag)}
    drawn = {"kind": "error", "request": "observation", "probability": 0.5, "seed": 1}
    with pytest.raises(controllers.ConnectError):
        start(first, drawn)
    assert flag.exists()
    game = start(first, drawn)
    begin(game)

    def fails():
        try:
            game.observe()
        except protocol.ProtocolError:
            return True
        return False

    failed = [fails() for _ in range(100)]
    assert 30 < sum(failed) < 70 and failed[:50] != failed[50:]
    assert fake_game.requests(tmp_path) == [{"launch": 1}, {}]
    game._client._sock.shutdown()  # the client is gone, without a quit
    assert wait_for_counts(tmp_path, 2)[1]["observation"] == 100


def test_a_game_ends_with_its_parent(tmp_path):
    fake_game.install(tmp_path)
    game = tmp_path / "Versions/Base75689/SC2_x64"
    line = f"'{game}' -listen 127.0.0.1 -port 0 & sleep 0.5"
    subprocess.run(["sh", "-c", line], check=True, stdout=subprocess.DEVNULL)
    assert wait_for_counts(tmp_path, 1) == [{"launch": 1}]
