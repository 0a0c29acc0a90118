"""``params.safetensors``: the networks of all seeds. Free of jax."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from knife_jax.console.messages import one_line
from knife_jax.records.directory import write
from knife_jax.records.lines import RecordError

ABOUT = "knife_jax"
"""the one key of the metadata, with JSON: safetensors writes several in any order"""


def write_params(path: Path, variables: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write network variables, leaves ``[S, ...]`` named like ``params/agent/encoder/kernel``."""
    from flax.traverse_util import flatten_dict
    from safetensors.numpy import save

    leaves = flatten_dict(variables, sep="/")
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in leaves.items()}
    write(path, save(arrays, metadata={ABOUT: json.dumps(about, sort_keys=True)}))


def read_about(path: Path) -> dict[str, Any]:
    """What is said of the networks: ``seeds``, ``env_steps``, ``config_hash`` and ``versions``.

    Raises ``RecordError``.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, "numpy") as opened:
            return json.loads(opened.metadata()[ABOUT])
    except Exception as error:  # whatever its parsers meet
        raise RecordError(f"{path.name} cannot be read ({one_line(error)})") from None


def read_params(path: Path) -> dict[str, np.ndarray]:
    """The arrays by name. Raises ``RecordError``."""
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except Exception as error:
        raise RecordError(f"{path.name} cannot be read ({one_line(error)})") from None
