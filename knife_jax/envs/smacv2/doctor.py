"""``python -m knife_jax.envs.smacv2.doctor``: what SMACv2 needs, and what is missing.

Each thing is looked for where a run would find it: in the interpreter of ``games.python``, in the
folder ``SC2PATH``. The exit code is 0 if a battle can be played, else 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from knife_jax.console.exit_codes import FAILED
from knife_jax.console.messages import one_line, say
from knife_jax.envs.smacv2.pool import FaultError, Pool
from knife_jax.envs.smacv2.worker import scenarios
from knife_jax.envs.smacv2.worker.rows import Order

PACKAGES = {
    "numpy": "numpy", "portpicker": "portpicker", "websocket": "websocket-client",
    "absl": "absl-py", "s2clientprotocol.sc2api_pb2": "pys2clientprotocol",
}  # fmt: skip
"""module -> the package that has it"""
PYSC2 = "4.0.0"
VERSION_FOLDER = "Base75689"
"""where version 4.10 of the game lies"""
MAP = "Maps/SMAC_Maps/32x32_flat.SC2Map"
PAGE = "knife_jax/envs/smacv2/README.md"

PROBE = """
import json, sys
from importlib import import_module
from importlib.metadata import packages_distributions, version
def error_of(module):
    try:
        import_module(module)
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
found = {"python": sys.version.split()[0], "errors": {}}
for module in sys.argv[1:]:
    found["errors"][module] = error_of(module)
owners = packages_distributions()
found["owners"] = sorted(set(owners.get("s2clientprotocol", [])))
found["smac"] = "smac" in owners
try:
    found["pysc2"] = version("pysc2")
except Exception:
    found["pysc2"] = None
try:
    from google.protobuf.internal import api_implementation
    found["parser"] = api_implementation.Type()
except Exception:
    found["parser"] = None
print(json.dumps(found))
"""


class Finding(NamedTuple):
    """One thing that was looked for."""

    good: bool
    text: str
    """what was found, or what is wrong and what to do"""


def folder() -> Path:
    """Where the game is looked for."""
    return Path(os.environ.get("SC2PATH") or "~/StarCraftII").expanduser()


def missing() -> str | None:
    """Why no game can be started, in one line; None if there is a program of one."""
    if any(os.access(path, os.X_OK) for path in folder().glob("Versions/Base*/SC2_x64")):
        return None
    return (
        f"SC2PATH={folder()} holds no StarCraft II (Versions/{VERSION_FOLDER}/SC2_x64): "
        "python -m knife_jax.envs.smacv2.doctor says what to do"
    )


def findings(python: str) -> Iterator[Finding]:
    """Look for everything, in the order in which it is installed."""
    sound = True
    for finding in (*_packages(python), *_game()):
        sound &= finding.good
        yield finding
    if sound:
        yield _battle(python)


def _packages(python: str) -> Iterator[Finding]:
    """What the interpreter finds."""
    try:
        probe = [python, "-c", PROBE, *PACKAGES, "pysc2", "smacv2"]
        done = subprocess.run(probe, capture_output=True, text=True, timeout=120)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        yield Finding(False, f"interpreter {python} does not run: {one_line(error)}")
        return
    yield Finding(True, f"interpreter {python}: Python {found['python']}")
    errors = found["errors"]
    for module, package in PACKAGES.items():
        text = f"{package}: install it (pip install {package}): {errors[module]}"
        yield Finding(not errors[module], text if errors[module] else f"{package} is there")
    others = [name for name in found["owners"] if name != "pys2clientprotocol"]
    if others:
        yield Finding(False, f"{', '.join(others)}: uninstall it, it has the files of "
                      "pys2clientprotocol; then install that one anew")  # fmt: skip
    fast = found["parser"] in ("upb", "cpp")
    slow = " takes 0.8 ms an observation: unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
    yield Finding(fast, f"protobuf's parser {found['parser']}" + slow * (not fast))
    right = found["pysc2"] == PYSC2 and not errors["pysc2"]
    have = f"there is {found['pysc2']}" if found["pysc2"] else "there is none"
    wrong = f"pysc2: {have}: pip install --no-deps pysc2=={PYSC2}"
    yield Finding(right, f"pysc2 {PYSC2}" if right else wrong)
    if found["smac"]:
        yield Finding(False, "smac: uninstall it, it registers maps of the same names as smacv2")
    text = f"smacv2 cannot be imported ({errors['smacv2']}): install it by the line of {PAGE}"
    yield Finding(not errors["smacv2"], text if errors["smacv2"] else "smacv2 is there")


def _game() -> Iterator[Finding]:
    """What the folder of the game holds."""
    where = folder()
    versions = [path.name for path in sorted(where.glob("Versions/Base*"))]
    program, battlefield = where / "Versions" / VERSION_FOLDER / "SC2_x64", where / MAP
    if not where.is_dir():
        unset = "" if "SC2PATH" in os.environ else " (SC2PATH is not set)"
        said = f"{where}{unset} is no folder: unpack Blizzard's Linux package there, or set SC2PATH"
        yield Finding(False, said)
    elif VERSION_FOLDER not in versions:
        other = f" (there is {', '.join(versions)})" if versions else ""
        yield Finding(
            False, f"{where}/Versions has no {VERSION_FOLDER}{other}: unpack version 4.10"
        )
    elif not program.is_file():
        yield Finding(False, f"{program} is missing: unpack version 4.10 again")
    elif not os.access(program, os.X_OK):
        yield Finding(False, f"{program} cannot be executed: chmod +x {program}")
    else:
        yield Finding(True, f"{program} is there")
    text = f"{battlefield} is missing: copy it from smacv2's repository, see {PAGE}"
    there = battlefield.is_file()
    yield Finding(there, f"{battlefield} is there" if there else text)


def _battle(python: str) -> Finding:
    """Start a game, take a step, end it."""
    task = scenarios.Task("terran")
    told = scenarios.settings("terran_5_vs_5", [task], "upstream", "upstream")
    pool = Pool(1, scenarios.sizes("terran_5_vs_5"), "worker.client:Smacv2", told, python, 60.0)
    try:
        pool.launch(0)
        pool.send(0, b"r", Order(0, 0, 0, 0))
        pool.recv(0)
        pool.rows["action"][0] = np.argmax(pool.rows["avail_actions"][0], axis=-1)
        pool.send(0, b"s")
        pool.recv(0)
        return Finding(True, "a game was started, played a step and ended")
    except FaultError as fault:
        return Finding(False, f"a game does not play a step: {fault}")
    finally:
        pool.close()


def main() -> None:
    """Say one line for each thing."""
    parser = argparse.ArgumentParser(
        prog="python -m knife_jax.envs.smacv2.doctor",
        description="Look for all that env=smacv2 needs, and say what to do about what is missing.",
    )
    parser.add_argument("--python", default=sys.executable, help="games.python of a run")
    bad = False
    for finding in findings(parser.parse_args().python):
        say(f"{'ok   ' if finding.good else 'WRONG'} {finding.text}")
        bad |= not finding.good
    sys.exit(FAILED if bad else 0)


if __name__ == "__main__":
    main()
