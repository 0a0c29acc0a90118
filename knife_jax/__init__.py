"""Value-factorisation learners in JAX whose networks are repaired while they learn.

From Python as from the command line: ``compose`` a configuration, ``train`` it, read the ``Run``,
``load`` its policy; or ``build`` the functions and call them. ``plasticity``, ``envs`` and
``mixers`` are what it is made of. Nothing imports jax before it is used.
"""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knife_jax import envs, mixers, plasticity
    from knife_jax.api.policy import Policy
    from knife_jax.api.run import Run, RunError
    from knife_jax.builders.program import Program
    from knife_jax.config.run import Config
    from knife_jax.config.schema import ConfigError

__all__ = [
    "ConfigError", "Policy", "Run", "RunError", "__version__", "build", "compose", "envs", "load",
    "mixers", "plasticity", "train",
]  # fmt: skip
__version__ = "0.1.0"

MODULES = ("envs", "mixers", "plasticity")
CLASSES = {
    "ConfigError": "config.schema",
    "Policy": "api.policy",
    "Run": "api.run",
    "RunError": "api.run",
}
"""what is imported when it is first used: modules, and classes from theirs"""


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
      >>> program = knife_jax.build(knife_jax.compose("env=matrix_game", "algo=vdn"))
      >>> program.spec.n_agents, program.spec.n_actions, program.optimum.tolist()
      (2, 3, [[8.0]])
    """
    from knife_jax.builders.program import build

    return build(config)


def train(config: Config) -> Run:
    """Train a configuration to its end, as ``python -m knife_jax.train`` does.

    What it finds is left in ``config.run_dir``, or in a new folder in ``runs/``. Progress is shown
    in a notebook as in a terminal. Ctrl-C, or a notebook's interrupt button, ends the run once the
    chunk at hand is finished, and leaves a checkpoint with which ``resume=auto`` goes on.

    Args:
      config: What ``compose`` returns.

    Returns:
      The run: what it has left in its directory. If all seeds diverged its ``status`` says so.

    Raises:
      ConfigError: The configuration cannot be run here. Nothing has been written.
      RunError: The folder is taken, or the run broke off; what was computed until then is kept.
      KeyboardInterrupt: Ctrl-C, after everything was saved; other signals raise ``SystemExit``.

    Example:
      >>> config = knife_jax.compose(
      ...     "env=matrix_game", "algo=vdn", "algo.hidden=8", "algo.learning_starts=500",
      ...     "env_steps=2000", "evaluation.episodes=8", "logger.wandb=disabled", "run_dir=mine",
      ... )
      >>> knife_jax.train(config)
      matrix_game qtran, vdn, seed 0: compiling
      ...
      mine: config.yaml, metrics.jsonl, summary.json, params.safetensors, curve.png, ...
      Run('mine')
    """
    from knife_jax.api.training import train

    return train(config)


def load(
    run: str | PathLike[str], checkpoint: str | int = "newest", seed: int | None = None
) -> Policy:
    """Load the policy of a run: networks that act, as pure functions.

    Args:
      run: A run directory, or a ``Run``.
      checkpoint: ``newest``, from ``params.safetensors`` and ``config.yaml`` alone if these are of
        the end of the run; ``best``, by evaluation; or the env steps of one in ``checkpoints/``.
      seed: One of the seeds of the run; by default all, whose arrays have an axis ``[S]`` in front.

    Returns:
      The policy: ``act``, ``q_values``, ``evaluate`` and more. A pytree, for ``jit`` and ``vmap``.

    Raises:
      RunError: The folder holds no such run, checkpoint or seed, or they are of another version.

    Example:
      >>> policy = knife_jax.load("mine")
      >>> policy.evaluate().returns == knife_jax.Run("mine").summary["final_return"]
      True
    """
    from knife_jax.api.loading import load

    return load(run, checkpoint, seed)


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return import_module(f"{__name__}.{name}")
    if name in CLASSES:
        return getattr(import_module(f"{__name__}.{CLASSES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
