"""What computed the results: versions, commit and devices."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import knife_jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "jaxmarl", "numpy")


def versions() -> dict[str, Any]:
    """What computes here. ``git_commit`` is None outside a checkout of this package."""
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
