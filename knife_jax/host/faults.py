"""What training must not go on from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from knife_jax.envs import contract
from knife_jax.envs.base import EnvSpec


def check_faults(metrics: dict[str, Any], spec: EnvSpec, seeds: Sequence[int]) -> None:
    """Take the faults out of what a chunk has seen.

    Raises ``ContractError`` if the environment broke its contract, ``FloatingPointError`` for a NaN
    that ``debug.nans`` has found. Messages are one line.
    """
    contract.check(spec, metrics.pop("breaches"))
    if (nan := metrics.pop("nan", None)) and (text := nan.get()):
        named = re.sub(r"mapped index (\d+)", lambda m: f"seed {seeds[int(m[1])]}", text)
        raise FloatingPointError(" ".join(named.split()))
