"""Value-factorisation learners in JAX whose networks are repaired while they learn.

From Python as from the command line: ``compose`` a configuration, ``train`` it, or ``build`` it and
call its functions. ``plasticity``, ``envs`` and ``mixers`` are what it is made of. Nothing imports
jax before it is used.
"""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knife_jax import envs, mixers, plasticity
    from knife_jax.builders.program import Program
    from knife_jax.config.run import Config

__all__ = ["__version__", "build", "compose", "envs", "mixers", "plasticity", "train"]
__version__ = "0.1.0"

LAZY = ("envs", "mixers", "plasticity")
"""modules that are imported when they are first used"""


def compose(*words: str, config_dir: str | PathLike[str] | None = None) -> Config:
    """Compose the configuration that words of the command line ask for.

    Args:
      words: ``group=option`` and ``field=value``, as after ``python -m knife_jax.train``.
      config_dir: A folder of your own configuration files, which win over the package's.

    Returns:
      The configuration: frozen dataclasses, every value checked.

    Raises:
      ConfigError: A word, a file or a value is refused. The message is one line.

    Example:
      >>> config = knife_jax.compose("env=matrix_game", "algo=qmix_knife", "algo.lr=3e-3")
      >>> config.algo.lr, config.plasticity.threshold
      (0.003, 0.25)
      >>> knife_jax.compose("algo.lr=-1")
      Traceback (most recent call last):
      knife_jax.config.schema.ConfigError: algo.lr=-1.0 is refused: must be a number, above 0
    """
    from knife_jax.cli import compose

    return compose(words, None if config_dir is None else str(config_dir))


def build(config: Config) -> Program:
    """Build the functions of a run. Nothing is compiled before one of them is called.

    Args:
      config: What ``compose`` returns.

    Returns:
      The program: ``init``, ``chunk``, ``evaluate`` and more, for all seeds [S] at once.

    Raises:
      ConfigError: The machine has not got the memory or the devices, or the Clock cannot count so
        far.

    Example:
      >>> program = knife_jax.build(knife_jax.compose("env=matrix_game", "algo=qmix"))
      >>> program.spec.n_agents, program.spec.n_actions, program.optimum
      (2, 3, [8.0])
    """
    from knife_jax.builders.program import build

    return build(config)


def train(config: Config) -> int:
    """Train a configuration to its end, as ``python -m knife_jax.train`` does.

    What it finds is left in ``config.run_dir``, or in a new folder in ``runs/``.

    Args:
      config: What ``compose`` returns.

    Returns:
      The exit code: 0, or that of a run that failed or was interrupted.

    Example:
      >>> config = knife_jax.compose(
      ...     "env=matrix_game", "algo=qmix", "algo.hidden=8", "algo.learning_starts=500",
      ...     "env_steps=2000", "evaluation.episodes=8", "logger.wandb=disabled", "run_dir=mine",
      ... )
      >>> knife_jax.train(config)
      matrix_game qtran, qmix, seed 0: compiling
      ...
      mine: config.yaml, metrics.jsonl, summary.json, params.safetensors, curve.png
      0
    """
    from knife_jax.host.loop import train

    return train(config)


def __getattr__(name: str) -> ModuleType:
    if name in LAZY:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
