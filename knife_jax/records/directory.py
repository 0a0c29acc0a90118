"""The run directory: its files, their names, and where the results come from."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
import secrets
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import knife_jax
from knife_jax.config.run import Config, to_dict, to_yaml
from knife_jax.console.messages import warn

CONFIG, METRICS, SUMMARY = "config.yaml", "metrics.jsonl", "summary.json"
PARAMS, CURVE = "params.safetensors", "curve.png"
CHECKPOINTS = "checkpoints"
FILES = (CONFIG, METRICS, SUMMARY, PARAMS, CURVE)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "jaxmarl", "numpy")


class RunDirectoryError(Exception):
    """The run directory cannot be used. The message is one line."""


def directory_of(config: Config) -> Path:
    """The run directory, not made yet."""
    return Path(config.run_dir or f"runs/{_fresh_name(config)}")


def check_free(path: Path, config: Config) -> None:
    """Raise ``RunDirectoryError`` where a run is that is not the one to be resumed, or something
    else has the name of one of its files."""
    taken = [name for name in (*FILES, CHECKPOINTS) if os.path.lexists(path / name)]
    here, there = (os.path.realpath(p) for p in (path, config.resume or ""))
    if taken and config.resume != "auto" and (config.resume is None or here != there):
        raise RunDirectoryError(
            f"run_dir={path} holds a run already ({', '.join(taken)}): choose another folder, "
            "or go on with it by resume=auto"
        )
    for name in taken:
        if (path / name).is_dir() != (name == CHECKPOINTS):
            kind = "a folder" if name == CHECKPOINTS else "a file"
            raise RunDirectoryError(f"run_dir={path} is refused: its {name} is not {kind}")


def begin(path: Path, config: Config, metrics: bytes = b"") -> None:
    """Make the run directory, with ``config.yaml`` and the metrics so far.

    Rows of a start that came to no checkpoint are kept under another name. Raises
    ``RunDirectoryError`` if it cannot be written.
    """
    resolved = to_yaml(replace(config, run_dir=str(path), resume=None), allow_unicode=True)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not metrics:
            _set_aside(path / METRICS)
        write(path / CONFIG, resolved.encode())
        write(path / METRICS, metrics)
    except OSError as error:
        reason = error.strerror or error
        raise RunDirectoryError(f"run_dir={path} cannot be written: {reason}") from error


def _set_aside(metrics: Path) -> None:
    """Rename rows that are not gone on from."""
    if metrics.exists() and metrics.stat().st_size:
        numbered = (metrics.with_name(f"{METRICS}.aside{i}") for i in itertools.count(1))
        aside = next(path for path in numbered if not os.path.lexists(path))
        metrics.rename(aside)
        warn(
            f"{metrics.parent} came to no checkpoint and begins anew: its rows are in {aside.name}"
        )


def _fresh_name(config: Config) -> str:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{config.env.name}-{config.algo.name}-s{config.seed}-{secrets.token_hex(2)}"


def write(path: Path, content: bytes) -> None:
    """Write a whole file or nothing: a reader never sees half of it.

    An ``OSError`` has the file's name.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise named(error, path) from None


def named(error: OSError, path: Path) -> OSError:
    """The error with the name of the file that it is about."""
    return OSError(error.errno, error.strerror or str(error), str(path))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write one JSON object, strictly: NaN and infinity raise ``ValueError``."""
    write(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def write_params(path: Path, variables: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write network variables, leaves ``[S, ...]`` named like ``params/agent/encoder/kernel``.

    The metadata is one key, ``knife_jax``, with JSON: safetensors writes several in any order.
    """
    from flax.traverse_util import flatten_dict
    from safetensors.numpy import save

    leaves = flatten_dict(variables, sep="/")
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in leaves.items()}
    write(path, save(arrays, metadata={"knife_jax": json.dumps(about, sort_keys=True)}))


NON_RESULT_FIELDS = (
    "run_dir", "devices", "compile_cache", "distributed", "resume", "logger", "checkpoint",
    "probes", "debug", "experiment",
)  # fmt: skip
"""fields that say where and how a run is made and reported, not which run it is"""


def config_hash(config: Config) -> str:
    """SHA-256 of all that decides the results; not of where they are written."""
    return hash_of(to_dict(config))


def hash_of(fields: Mapping[str, Any]) -> str:
    """The same of a configuration that was read, of this version or another."""
    result_fields = {name: value for name, value in fields.items() if name not in NON_RESULT_FIELDS}
    return hashlib.sha256(json.dumps(result_fields, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, Any]:
    """What computed the results. ``git_commit`` is None outside a checkout of this package."""
    import jax

    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "knife_jax": knife_jax.__version__,
        **{name: metadata.version(name) for name in PACKAGES},
        "git_commit": _git_commit(),
        "platform": device.platform,
        "device_kind": device.device_kind,
        "n_devices": jax.device_count(),
    }


def _git_commit() -> str | None:
    """The commit of this package's own checkout, ``-dirty`` if it was changed since."""
    package = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        return subprocess.check_output(
            ["git", "--no-optional-locks", "-C", str(package), *words],
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=10,
        ).strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != package.parent:
            return None
        return git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None
