"""``python -m knife_jax.train``: check the command line, then train."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from knife_jax import __version__, cli, messages
from knife_jax.cli import job
from knife_jax.cli.help import help_text
from knife_jax.messages import say
from knife_jax.schema import ConfigError

REFUSED = 2
"""exit code for a command line that is not accepted"""

BEST = "optimization_results.yaml"
"""what a search leaves in the folder of its jobs"""


def main() -> None:
    """Run what the command line asks for; exit with 2 and one line if it cannot be accepted."""
    try:
        words = cli.parse(sys.argv[1:])
        if words.has("--version"):
            say(f"knife_jax {__version__}")
            return
        words = words.in_sweep_folder() if words.is_sweep() else words
        config = cli.preflight(words)
    except ConfigError as error:
        messages.error(str(error))
        sys.exit(REFUSED)
    if words.has("--help", "-h"):
        say(help_text(config))
        return
    sys.argv[1:] = words.argv()
    if words.is_sweep():
        sys.exit(_sweep(words.swept(), Path(str(config.run_dir))))
    _launch(_train)


def _launch(task: Callable[[DictConfig], Any]) -> None:
    """Hand over to Hydra, which starts one job or many."""
    hydra.main(version_base="1.3", config_path=str(cli.configs_dir()), config_name="train")(task)()


def _train(composed: DictConfig) -> None:
    # jax is first imported here
    from knife_jax.host.loop import train

    sys.exit(train(cli.read(composed)))


def _sweep(swept: list[str], folder: Path) -> int:
    """Start the jobs of a sweep. The exit code: that of the first job that failed, if any did."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and Ctrl-C
    try:
        _launch(lambda composed: job.run(composed, swept))
    except job.JobError as error:
        code, told = error.code, str(error)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
        told = f"interrupted: run_dir={folder} resume=auto goes on from here"
    except Exception as error:
        code, told = job.FAILED, " ".join(f"{type(error).__name__}: {error}".split())
    else:
        if (folder / BEST).exists():
            say(f"{folder / BEST}:\n{(folder / BEST).read_text()}".rstrip())
        return 0
    if ray := sys.modules.get("ray"):  # as at exit: its thread shows the jobs' lines among ours
        ray.shutdown(_exiting_interpreter=True)
    messages.error(told)
    return code
