"""What the environment says where the command line does not: the variables of Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator

from knife_jax.config.schema import ConfigError, shown

MODES = {
    "online": "online", "run": "online", "offline": "offline", "dryrun": "offline",
    "disabled": "disabled",
}  # fmt: skip
"""what ``WANDB_MODE`` can be -> our word for it"""

SAME = {"WANDB_PROJECT": "logger.project", "WANDB_ENTITY": "logger.entity"}
"""variables whose text a field takes as it is"""

YES = ("1", "true", "yes", "on")


def fields(given: Container[str]) -> Iterator[tuple[str, str]]:
    """Fields that are not given, and their text. Raises ``ConfigError`` for an unknown mode."""
    if "logger.wandb" not in given and (mode := _mode()):
        yield "logger.wandb", mode
    for variable, field in SAME.items():
        if field not in given and (text := os.environ.get(variable)):
            yield field, text


def _mode() -> str | None:
    if os.environ.get("WANDB_DISABLED", "").lower() in YES:
        return "disabled"
    mode = os.environ.get("WANDB_MODE") or None
    if mode is not None and mode not in MODES:
        known = ", ".join(MODES)
        raise ConfigError(f"WANDB_MODE={shown(mode)} is refused: must be one of {known}")
    return mode and MODES[mode]
