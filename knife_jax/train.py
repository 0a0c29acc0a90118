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

from knife_jax import __version__, cli, sweep
from knife_jax.host.streams import outlast_readers
from knife_jax.schema import ConfigError
from knife_jax.scrub import scrub
from knife_jax.usage import help_text

REFUSED = 2
"""exit code for a command line that is not accepted"""

BEST = "optimization_results.yaml"
"""what a search leaves in the folder of its jobs"""


def main() -> None:
    """Run what the command line asks for; exit with 2 and one line if it cannot be accepted."""
    outlast_readers()
    try:
        words = cli.parse(sys.argv[1:])
        if words.has("--version"):
            print(f"knife_jax {__version__}")
            return
        words = words.in_sweep_folder() if words.is_sweep() else words
        config = cli.preflight(words)
    except ConfigError as error:
        print(f"error: {scrub(str(error))}", file=sys.stderr)
        sys.exit(REFUSED)
    if words.has("--help", "-h"):
        print(help_text(config))
        return
    sys.argv[1:] = words.argv()
    if words.is_sweep():
        sys.exit(_sweep(words.swept(), Path(str(config.run_dir))))
    _launch(_train)


def _launch(job: Callable[[DictConfig], Any]) -> None:
    """Hand over to Hydra, which starts one job or many."""
    hydra.main(version_base="1.3", config_path=str(cli.configs_dir()), config_name="train")(job)()


def _train(composed: DictConfig) -> None:
    # jax is first imported here
    from knife_jax.host.loop import train

    sys.exit(train(cli.read(composed)))


def _sweep(swept: list[str], folder: Path) -> int:
    """Start the jobs of a sweep. The exit code: that of the first job that failed, if any did."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here
    try:
        _launch(lambda composed: sweep.run(composed, swept))
    except sweep.JobError as error:
        code, told = error.code, str(error)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
        told = f"interrupted: run_dir={folder} resume=auto goes on from here"
    except Exception as error:
        code, told = sweep.FAILED, " ".join(f"{type(error).__name__}: {error}".split())
    else:
        if (folder / BEST).exists():
            print(f"{folder / BEST}:\n{(folder / BEST).read_text()}", end="")
        return 0
    if ray := sys.modules.get("ray"):  # as at exit: its thread shows the jobs' lines among ours
        ray.shutdown(_exiting_interpreter=True)
    print(f"error: {scrub(told)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
