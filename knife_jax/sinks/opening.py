"""The sinks of a run: its record, and the mirrors that the configuration names."""

from __future__ import annotations

from pathlib import Path

from knife_jax.config.run import Config
from knife_jax.console.messages import one_line, warn
from knife_jax.records.directory import METRICS
from knife_jax.sinks.base import FanOut, JsonLines, Sink
from knife_jax.sinks.format import Plan, title
from knife_jax.sinks.terminal import open_table
from knife_jax.sinks.wandb import open_wandb


def open_sinks(config: Config, env_steps: int, directory: Path, wall_time: float) -> FanOut:
    """Where the records of a run of ``env_steps`` go that has taken ``wall_time`` so far.

    W&B that cannot be started is a warning.
    """
    mirrors = list[Sink]()
    if config.logger.wandb != "disabled":
        try:
            mirrors.append(open_wandb(config, directory))
        except Exception as error:
            warn(f"W&B is switched off: {one_line(error)}")
    if config.logger.table:
        plan = Plan(title(config), env_steps, config.num_seeds, wall_time)
        mirrors.append(open_table(plan))
    return FanOut(JsonLines(directory / METRICS), mirrors)
