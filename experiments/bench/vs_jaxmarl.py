"""Training speed, side by side: this project's QMIX against JaxMARL's ``qmix_rnn``, or its VDN
without a replay against ``pqn_vdn_rnn``.

    python experiments/bench/vs_jaxmarl.py --scenario 2s3z [--jaxmarl PATH] [--quick]

The sides train in turns, each in a process of its own and the other asleep, with the same networks,
batch, windows, learner steps per environment step and number of environments. Compilation and the
filling of the replay are not timed. Environment steps are transitions: steps of ours that only open
a new episode do not count. The peer has a pool of at least four threads (``NPROC``), without which
a batched QR of JaxMARL's can deadlock; ours has what its user has.
Without ``--jaxmarl`` the peer is a restatement of JaxMARL's learner and loop (``peer.py``,
``peer_pqn.py``). The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from settings import MPE, MPE_SCENARIOS, SMAX, PqnSettings, Settings, avoid_deadlock

from knife_jax.config.scenarios import SMAX_SCENARIOS

if TYPE_CHECKING:
    from sides import Side

PACKAGES = ("jax", "jaxlib", "flax", "optax", "jaxmarl", "numpy")


def main() -> None:
    args = _arguments()
    settings = _settings(args)
    print(f"{args.scenario}: {settings}", flush=True)
    peer, ours = _Process("peer", args, settings), _Process("ours", args, settings)
    pairs = []
    for i in range(args.repeats):
        (theirs, their_cpu), (mine, my_cpu) = peer.timed(), ours.timed()
        ratios = {"ratio": mine / theirs, "cpu_ratio": my_cpu / their_cpu}
        pairs.append({"peer": theirs, "ours": mine, **ratios})
        print(f"pair {i + 1}: {_line(pairs[i])}", flush=True)
    middle = {name: statistics.median(pair[name] for pair in pairs) for name in pairs[0]}
    print(f"median: {_line(middle)}")
    print(json.dumps(_record(args, settings, ours.about, peer.about, pairs, middle)))


class _About(NamedTuple):
    label: str
    sizes: dict[str, int]
    devices: int
    backend: str
    threads: str | None
    """NPROC, if it is set"""


class _Process:
    """One side, ready to be timed, in a process that sleeps between its turns."""

    def __init__(
        self, name: str, args: argparse.Namespace, settings: Settings | PqnSettings
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, name, args, settings), daemon=True).start()
        # lest it wait for the other end, which only it holds then
        theirs.close()
        self.about: _About = self._answer()

    def timed(self) -> tuple[float, float]:
        """Transitions per second of one call, and per second of CPU time over all threads."""
        self._pipe.send("go")
        return self._answer()

    def _answer(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            sys.exit(1)  # it has said why


def _serve(
    pipe: Connection, name: str, args: argparse.Namespace, settings: Settings | PqnSettings
) -> None:
    # two processes share the memory of an accelerator
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if name == "peer":
        avoid_deadlock()
    from knife_jax.parallel import devices

    devices.begin(args.devices)
    import jax
    import sides

    if name == "peer":
        side = sides.peer_side(args.scenario, settings, args.rounds, args.jaxmarl)
    else:
        side = sides.our_side(args.scenario, settings, args.rounds, args.devices)
    threads = os.environ.get("NPROC")
    pipe.send(_About(side.label, side.sizes, side.devices, jax.default_backend(), threads))
    with suppress(EOFError):  # the other end is closed when all is measured
        while pipe.recv():
            pipe.send(_timed(side))


def _line(pair: dict[str, float]) -> str:
    rates = "ours {ours:,.0f}, peer {peer:,.0f} env steps/s, ratio {ratio:.3f}".format(**pair)
    return rates + ", per CPU second {cpu_ratio:.3f}".format(**pair)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Training speed against JaxMARL's qmix_rnn or pqn_vdn_rnn, in turns.",
        epilog="The last line printed is JSON: medians of both sides and of the pairs' ratios.",
    )
    parser.add_argument(
        "--scenario",
        default="2s3z",
        metavar="NAME",
        help="an SMAX scenario, or mpe3, mpe6, mpe9 for teams on MPE physics (default: 2s3z)",
    )
    parser.add_argument(
        "--peer",
        default="qmix_rnn",
        choices=("qmix_rnn", "pqn_vdn_rnn"),
        help="its learner (default: qmix_rnn); pqn_vdn_rnn with layer normalisation",
    )
    parser.add_argument(
        "--hidden", type=int, default=64, help="width of the agent network (default: 64)"
    )
    parser.add_argument(
        "--n-envs", type=int, help="environments (default: 16, MPE: 8, pqn_vdn_rnn: 128)"
    )
    parser.add_argument(
        "--devices",
        type=int,
        help="devices of our side, as in its configuration (default: what a user gets)",
    )
    parser.add_argument(
        "--rounds", type=int, help="rounds in a timed call (default: 8, MPE: 160, pqn_vdn_rnn: 2)"
    )
    parser.add_argument("--repeats", type=int, default=9, help="pairs of timed calls (default: 9)")
    parser.add_argument(
        "--buffer-windows",
        type=int,
        default=SMAX.buffer_windows,
        help=f"capacity of both replays (default: {SMAX.buffer_windows})",
    )
    parser.add_argument(
        "--jaxmarl",
        type=Path,
        metavar="PATH",
        help="a checkout of JaxMARL, whose own script is then the peer; the done flag of its "
        "target is put right in memory",
    )
    parser.add_argument("--quick", action="store_true", help="5 pairs of half as long calls")
    args = parser.parse_args()
    if args.peer == "pqn_vdn_rnn" and (args.jaxmarl or args.scenario in MPE_SCENARIOS):
        parser.error("--peer pqn_vdn_rnn is for SMAX, without --jaxmarl")
    if args.scenario not in (*SMAX_SCENARIOS, *MPE_SCENARIOS):
        known = ", ".join((*SMAX_SCENARIOS, *MPE_SCENARIOS))
        parser.error(f"--scenario {args.scenario} is unknown; there are {known}")
    usual = 2 if args.peer == "pqn_vdn_rnn" else 160 if args.scenario in MPE_SCENARIOS else 8
    args.rounds = args.rounds or usual
    if args.quick:
        args.rounds, args.repeats = math.ceil(args.rounds / 2), 5
    return args


def _settings(args: argparse.Namespace) -> Settings | PqnSettings:
    if args.peer == "pqn_vdn_rnn":
        n_envs = args.n_envs or PqnSettings.n_envs
        return PqnSettings(hidden=args.hidden, n_envs=n_envs, batch_norm=False)
    base = MPE if args.scenario in MPE_SCENARIOS else SMAX
    n_envs = args.n_envs or base.n_envs
    settings = dataclasses.replace(
        base, hidden=args.hidden, n_envs=n_envs, buffer_windows=args.buffer_windows
    )
    smallest = settings.batch * n_envs
    if settings.buffer_windows < smallest or settings.buffer_windows % n_envs:
        sys.exit(
            f"--buffer-windows {settings.buffer_windows}: must be a multiple of {n_envs} "
            f"and at least {smallest}, which JaxMARL fills before it learns"
        )
    return settings


def _timed(side: Side) -> tuple[float, float]:
    """Transitions per second of one call, and per second of CPU time over all threads."""
    start, cpu = time.perf_counter(), time.process_time()
    transitions = side.advance()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    return transitions / wall, transitions / cpu


def _record(
    args, settings: Settings | PqnSettings, ours: _About, peer: _About, pairs, middle
) -> dict[str, Any]:
    return {
        "scenario": args.scenario,
        "ours_env_steps_per_s": middle["ours"],
        "peer_env_steps_per_s": middle["peer"],
        "ratio": middle["ratio"],
        "cpu_ratio": middle["cpu_ratio"],
        "devices": ours.devices,
        "pairs": pairs,
        "peer": peer.label,
        "sizes": {"ours": ours.sizes, "peer": peer.sizes},
        "rounds_per_call": args.rounds,
        "settings": dataclasses.asdict(settings),
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in PACKAGES},
        "machine": {
            "backend": ours.backend,
            "cpus": os.cpu_count(),
            "NPROC": {"ours": ours.threads, "peer": peer.threads},
            "load": os.getloadavg()[0],
        },
    }


if __name__ == "__main__":
    main()
