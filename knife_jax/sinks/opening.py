"""The sinks of a run: its record, and the mirrors that the configuration names."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from knife_jax.config.run import Config
from knife_jax.records.directory import METRICS
from knife_jax.sinks.base import FanOut, JsonLines, Sink
from knife_jax.sinks.format import Plan, title
from knife_jax.sinks.tensorboard import open_tensorboard
from knife_jax.sinks.terminal import open_table
from knife_jax.sinks.wandb import open_wandb


def open_sinks(config: Config, env_steps: int, directory: Path, wall_time: float) -> FanOut:
    """Where the records of a run of ``env_steps`` go that has taken ``wall_time`` so far.

    Mirrors start in a thread, while the first chunk is trained. One that cannot be started is a
    warning.
    """
    log = JsonLines(directory / METRICS)
    wanted = {
        "W&B": config.logger.wandb != "disabled" and partial(open_wandb, config, directory),
        "TensorBoard": config.logger.tensorboard
        and partial(open_tensorboard, config, directory, wall_time),
    }
    thread = ThreadPoolExecutor(1)
    starting = {name: thread.submit(start) for name, start in wanted.items() if start}
    thread.shutdown(wait=False)
    mirrors = list[Sink]()
    if config.logger.table:
        plan = Plan(title(config), env_steps, config.num_seeds, wall_time)
        mirrors.append(open_table(plan))
    return FanOut(log, mirrors, starting)
