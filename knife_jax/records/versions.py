"""What computed the results: versions, commit and devices."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import knife_jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "jaxmarl", "numpy")


def versions(module: str | None = None) -> dict[str, Any]:
    """What computes here. ``git_commit`` is None outside a checkout of this package.

    ``module`` is that of an environment of the user's own: its file is named, with its SHA-256.
    """
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
        **({"env_code": _code(module)} if module else {}),
    }


def _code(module: str) -> dict[str, str] | None:
    """The file of a module and its SHA-256; None if it has none that can be read."""
    try:
        file = Path(str(getattr(find_spec(module), "origin", None)))
        content = file.read_bytes()
    except Exception:  # __main__ may have none, and a package may raise anything
        return None
    here = Path.cwd()
    shown = str(file.relative_to(here)) if file.is_relative_to(here) else file.name
    return {"file": shown, "sha256": hashlib.sha256(content).hexdigest()}


@cache
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
