"""A toy StarCraft II that speaks the game's own protocol, for tests without the game.

Started as the game would be (``-listen HOST -port PORT ...``) by the shell line that
``fake_game.install`` writes; it needs ``websockets`` and ``s2clientprotocol``. Faults are read
from ``faults.json`` in the folder of the fake game: see ``fake_game.install``.
"""

import argparse
import json
import math
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from s2clientprotocol import sc2api_pb2 as _pb
from toy_battle import ATTACK, BY_TYPE, HEAL, MOVE, N_TYPES, SIZE, STOP, Battle
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

pb: Any = _pb  # its messages are made at run time


class Records:
    """Counts the requests of this launch and draws its faults."""

    def __init__(self, folder: Path):
        self.settings = json.loads((folder / "faults.json").read_text())
        self.counts: dict[str, int] = {}
        self.leaving = threading.Lock()
        for launch in range(10**6):  # the first number that no other launch has taken
            self.file = folder / f"requests_{launch:06d}.json"
            try:
                self.file.open("x").close()
            except FileExistsError:
                continue
            break
        faults = self.settings["faults"]
        seeds = [f"{fault.get('seed', 0)} {self.file.name}" for fault in faults]
        self.faults = [(fault, random.Random(s)) for fault, s in zip(faults, seeds, strict=True)]

    def fault(self, name: str) -> str | None:
        """Count a request; the kind of fault that it meets."""
        self.counts[name] = n = self.counts.get(name, 0) + 1
        met = None
        for fault, draw in self.faults:
            if fault.get("request", name) != name or fault.get("at", n) != n:
                continue
            if draw.random() >= fault.get("probability", 1.0):
                continue
            try:
                if fault.get("once"):
                    Path(fault["once"]).open("x").close()
                met = met or fault["kind"]
            except FileExistsError:
                pass
        return met

    def leave(self, code: int) -> NoReturn:
        """Write the counts and end the process, from whichever thread."""
        if self.leaving.acquire(blocking=False):
            self.file.write_text(json.dumps(self.counts))
            os._exit(code)
        while True:  # another thread is leaving
            time.sleep(1)


class Server:
    """Answers requests, one client for the life of the process."""

    def __init__(self, records: Records):
        self.records, self.status, self.battle = records, pb.launched, Battle(0)

    def serve(self, connection: ServerConnection):
        """Answer until the client leaves, then end the process."""
        try:
            while True:
                # The client sends bytes in text frames: they are not to be decoded.
                request = pb.Request.FromString(connection.recv(decode=False))
                name = request.WhichOneof("request")
                fault = self.records.fault(name)
                if name == "quit":
                    break
                if fault == "crash":
                    self.records.leave(1)
                if fault == "hang":
                    threading.Event().wait()
                if fault == "close":
                    connection.close()
                    break
                response = pb.Response(id=request.id)
                error = "fault of the stub" if fault == "error" else self._answer(request, response)
                if error:
                    response = pb.Response(id=request.id, error=[error])
                response.status = self.status
                if fault == "garbage":
                    connection.send(b"\xff\xfe no message")
                elif fault != "silence":
                    connection.send(response.SerializeToString())
        except ConnectionClosed:
            pass
        self.records.leave(0)

    def _answer(self, request: Any, response: Any) -> str | None:
        """Fill in the response; the error, if there is one."""
        name = request.WhichOneof("request")
        valid = {
            "create_game": (pb.launched, pb.ended),
            "join_game": (pb.init_game,),
            "ping": tuple(pb.Status.values()),
        }.get(name, (pb.in_game,))
        if name in ("observation", "save_replay", "game_info", "data"):
            valid = (pb.in_game, pb.ended)
        if self.status not in valid:
            return f"{name}: not valid while {pb.Status.Name(self.status)}"
        answer = getattr(self, "_" + name, None)
        if answer is None:
            return f"{name}: not known to the stub"
        getattr(response, name).SetInParent()
        return answer(getattr(request, name), getattr(response, name))

    def _ping(self, _, response):
        response.game_version, response.base_build, response.data_build = "4.10.0", 75689, 75689

    def _create_game(self, request, response):
        if not request.local_map.map_data:
            response.error = pb.ResponseCreateGame.InvalidMapData
            return
        self.battle, self.status = Battle(request.random_seed), pb.init_game

    def _join_game(self, request, response):
        if not request.options.raw:
            response.error = pb.ResponseJoinGame.InvalidPlayerID
            return
        response.player_id, self.status = 1, pb.in_game

    def _game_info(self, _, response):
        start = response.start_raw
        start.map_size.x = start.map_size.y = SIZE
        start.playable_area.p1.x = start.playable_area.p1.y = SIZE
        for grid, bits, byte in ((start.pathing_grid, 1, 255), (start.terrain_height, 8, 127)):
            grid.bits_per_pixel, grid.data = bits, bytes([byte]) * (SIZE * SIZE * bits // 8)
            grid.size.x = grid.size.y = SIZE

    def _data(self, _, response):
        for i in range(N_TYPES):
            name = BY_TYPE[i].name.capitalize() if i in BY_TYPE else f"Type{i}"
            response.units.add(unit_id=i, name=name, available=True)
        for i, name in ((STOP, "Stop"), (MOVE, "Move"), (ATTACK, "Attack"), (HEAL, "Heal")):
            response.abilities.add(ability_id=i, link_name=name, friendly_name=name)

    def _observation(self, _, response):
        response.observation.game_loop = self.battle.loop
        if self.status == pb.ended:
            response.player_result.add(player_id=1, result=pb.Tie)
        raw = response.observation.raw_data
        raw.player.SetInParent()
        for unit in self.battle.units.values():
            row = raw.units.add(tag=unit.tag, unit_type=unit.type, owner=unit.owner)
            row.pos.x, row.pos.y, row.pos.z = unit.x, unit.y, 8.0
            row.health, row.health_max = unit.health, unit.kind.health
            row.shield, row.shield_max = unit.shield, unit.kind.shield
            row.energy, row.weapon_cooldown = unit.energy, unit.cooldown

    def _action(self, request, response):
        for action in request.actions:
            command = action.action_raw.unit_command
            target = command.target_unit_tag
            if command.HasField("target_world_space_pos"):
                target = (command.target_world_space_pos.x, command.target_world_space_pos.y)
            for tag in command.unit_tags:
                self.battle.command(tag, command.ability_id, target)
            response.result.append(1)

    def _step(self, request, _):
        time.sleep(self.records.settings.get("sleep", 0))
        for _ in range(request.count):
            self.battle.step()
        if self.battle.loop >= self.records.settings.get("end_at_loop", math.inf):
            self.status = pb.ended

    def _debug(self, request, _):
        created = [c.create_unit for c in request.debug if c.HasField("create_unit")]
        killed = [tag for c in request.debug for tag in c.kill_unit.tag]
        if created and self.records.fault("create_unit") == "units":
            created = created[1:]
        for unit in created:
            self.battle.create(unit.unit_type, unit.owner, unit.pos.x, unit.pos.y)
        if killed and self.records.fault("kill_unit") == "kill_without_effect":
            return
        for tag in killed:
            self.battle.units.pop(tag, None)

    def _save_replay(self, _, response):
        response.data = b"replay of the stub"


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    for name in ("listen", "port", "dataDir", "tempDir", "dataVersion"):
        parser.add_argument("-" + name)
    options, _ = parser.parse_known_args()
    records = Records(options.folder)
    signal.signal(signal.SIGTERM, lambda *_: records.leave(0))
    if records.fault("launch"):
        print("stub: error while loading shared libraries", file=sys.stderr)
        records.leave(127)
    server = serve(
        Server(records).serve,
        options.listen,
        int(options.port),
        compression=None,
        max_size=None,
        ping_interval=None,
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while os.getppid() == options.parent:
        time.sleep(0.2)
    records.leave(0)


if __name__ == "__main__":
    main()
