"""Lays out a folder that pysc2 takes for StarCraft II, with the stub server as its program."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STUB = Path(__file__).with_name("stub_server.py")


def install(
    folder: Path, faults: Sequence[dict[str, Any]] = (), **settings: float
) -> dict[str, str]:
    """Make the fake game; return the environment variables with which pysc2 finds it.

    Args:
        folder: where to put it; made if absent.
        faults: each ``{"kind", "request", "at", "once", "probability", "seed"}``. ``kind`` is
            ``crash``, ``hang`` (reads nothing any more), ``close``, ``error``, ``garbage``,
            ``silence`` (no answer to this request), ``units`` (one unit fewer: with the request
            ``create_unit``) or ``kill_without_effect`` (with ``kill_unit``). ``request`` is the
            protocol's name or ``launch``, every request if absent; ``at`` the n-th such request of
            a launch, each if absent; ``once`` a file that the fault makes, and which stops it from
            then on. With ``probability`` it is drawn, from ``seed`` and the launch's number.
        settings: ``sleep`` (seconds a step request) and ``end_at_loop`` (the game ends then).
    """
    program = folder / "Versions" / "Base75689" / "SC2_x64"
    program.parent.mkdir(parents=True, exist_ok=True)
    parts = (sys.executable, str(STUB), "--folder", str(folder.resolve()))
    program.write_text(f'#!/bin/sh\nexec {shlex.join(parts)} --parent "$PPID" "$@"\n')
    program.chmod(0o755)
    game_map = folder / "Maps" / "SMAC_Maps" / "32x32_flat.SC2Map"
    game_map.parent.mkdir(parents=True, exist_ok=True)
    game_map.write_bytes(b"a map for the stub")
    (folder / "faults.json").write_text(json.dumps({"faults": list(faults), **settings}))
    return {"SC2PATH": str(folder.resolve())}


def requests(folder: Path) -> list[dict[str, int]]:
    """How many requests of each name each launch got, in the order of the launches.

    Launches that are still running, or were killed outright, have none: ``{}``.
    """
    texts = [file.read_text() for file in sorted(folder.glob("requests_*.json"))]
    return [json.loads(text or "{}") for text in texts]
