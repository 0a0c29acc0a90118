"""What the benchmarks of environment steps share: their options, and where they ran."""

from __future__ import annotations

import argparse
import os
import platform
from typing import Any

import jax


def options(doc: str | None, n_envs: int, rounds: int) -> argparse.ArgumentParser:
    """Options of all of them, under the first line of a script's ``doc``."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--n-envs", type=int, default=n_envs)
    parser.add_argument("--steps", type=int, default=200, help="steps in one timed run")
    parser.add_argument("--rounds", type=int, default=rounds, help="timed runs of each")
    parser.add_argument("--quick", action="store_true", help="50 steps, 3 rounds")
    return parser


def length(args: argparse.Namespace) -> tuple[int, int]:
    """Steps in a timed run, and timed runs."""
    return (50, 3) if args.quick else (args.steps, args.rounds)


def where() -> dict[str, Any]:
    """The end of every record."""
    return {
        "backend": jax.default_backend(),
        "cpus": os.cpu_count(),
        "jax": jax.__version__,
        "machine": platform.machine(),
    }
