"""The run directory: its files and their names."""

from __future__ import annotations

import itertools
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from knife_jax.config.plain import to_yaml
from knife_jax.config.run import Config
from knife_jax.console.messages import warn

CONFIG, METRICS, SUMMARY = "config.yaml", "metrics.jsonl", "summary.json"
PARAMS, CURVE = "params.safetensors", "curve.png"
RECORDING = "recording.html"
CHECKPOINTS = "checkpoints"
FILES = (CONFIG, METRICS, SUMMARY, PARAMS, CURVE, RECORDING)


class RunDirectoryError(Exception):
    """The run directory cannot be used. The message is one line."""


def directory_of(config: Config) -> Path:
    """The run directory, not made yet."""
    return Path(config.run_dir or f"runs/{_fresh_name(config)}")


def files_of_run(path: Path) -> list[str]:
    """Names of what a folder holds of a run, be it damaged, or a link that leads nowhere."""
    return [name for name in (*FILES, CHECKPOINTS) if os.path.lexists(path / name)]


def check_free(path: Path, config: Config) -> None:
    """Raise ``RunDirectoryError`` if the folder holds a run other than the one to be resumed, or
    something else under the name of one of its files."""
    taken = files_of_run(path)
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

    Records of a start that came to no checkpoint are kept under another name. Raises
    ``RunDirectoryError`` if it cannot be written.
    """
    resolved = to_yaml(replace(config, run_dir=str(path), resume=None), allow_unicode=True)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not metrics:
            _set_aside(path / METRICS)
        write(path / CONFIG, resolved.encode())
        write(path / METRICS, metrics)
        (path / RECORDING).unlink(missing_ok=True)  # of a policy that is trained further
    except OSError as error:
        reason = error.strerror or error
        raise RunDirectoryError(f"run_dir={path} cannot be written: {reason}") from error


def _set_aside(metrics: Path) -> None:
    """Rename the records of a start that is not resumed."""
    if metrics.exists() and metrics.stat().st_size:
        numbered = (metrics.with_name(f"{METRICS}.aside{i}") for i in itertools.count(1))
        aside = next(path for path in numbered if not os.path.lexists(path))
        metrics.rename(aside)
        warn(
            f"{metrics.parent} came to no checkpoint and begins anew: "
            f"its records are in {aside.name}"
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
