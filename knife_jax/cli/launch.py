"""``python -m knife_jax.train``: check the command line, then train."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from knife_jax import __version__
from knife_jax.cli import job
from knife_jax.cli.compose import use
from knife_jax.cli.files import configs_dir, replaced
from knife_jax.cli.help import help_text
from knife_jax.cli.sweeps import planned, settings
from knife_jax.cli.words import Words, parse, plain
from knife_jax.config.plain import to_yaml
from knife_jax.config.schema import ConfigError
from knife_jax.console import messages
from knife_jax.console.exit_codes import FAILED, REFUSED, of_signal
from knife_jax.console.messages import say

BEST = "optimization_results.yaml"
"""what a search leaves in the folder of its jobs"""


def main() -> None:
    """Run what the command line asks for; exit with 2 and one line if it cannot be accepted."""
    try:
        words = parse(sys.argv[1:])
        if "--version" in words.flags:
            return say(f"knife_jax {__version__}")
        words = words.in_sweep_folder() if words.is_sweep() else words
        planned_words, config = planned(words)
        if words.config_dir and (names := replaced(words.config_dir)):
            messages.note(f"--config-dir {words.config_dir} is read first: {', '.join(names)}")
        if "--help" in words.flags:
            return say(help_text(config, settings(words).runtime.choices, words.config_dir))
        if "--cfg" in words.flags:
            shown = words.flags["--cfg"]
            of_hydra = _settings(words) if shown != "job" else ""
            return say(of_hydra + to_yaml(config) * (shown != "hydra"))
        config.env.check_installed()
    except ConfigError as error:
        messages.error(str(error))
        sys.exit(REFUSED)
    if words.is_sweep():
        sys.exit(_sweep(planned_words, Path(str(config.run_dir))))
    if "--hydra-help" in words.flags:
        sys.argv[1:] = ["--hydra-help"]
        return _hydra(words, lambda _: None)
    # jax is first imported here
    from knife_jax.host.loop import train

    sys.exit(train(config))


def _settings(words: Words) -> str:
    """Hydra's own settings as YAML."""
    return OmegaConf.to_yaml({"hydra": settings(words)})


def _hydra(words: Words, task: Callable[[DictConfig], Any]) -> None:
    """Hand over to Hydra."""
    use(words.config_dir)
    hydra.main(version_base="1.3", config_path=str(configs_dir()), config_name="train")(task)()


def _sweep(words: Words, folder: Path) -> int:
    """Start the jobs of a sweep. The exit code: that of the first job that failed, if any did."""
    sys.argv[1:] = ["--multirun", *map(plain, words.overrides)]
    swept = words.swept()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and Ctrl-C
    try:
        _hydra(words, lambda composed: job.run(composed, swept))
    except job.JobError as error:
        code, message = error.code, str(error)
    except KeyboardInterrupt:
        code = of_signal(signal.SIGINT)
        message = f"interrupted: run_dir={folder} resume=auto goes on from here"
    except Exception as error:
        code, message = FAILED, " ".join(f"{type(error).__name__}: {error}".split())
    else:
        if (folder / BEST).exists():
            say(f"{folder / BEST}:\n{(folder / BEST).read_text(encoding='utf-8')}".rstrip())
        return 0
    if ray := sys.modules.get("ray"):  # as at exit: its thread shows the jobs' lines among ours
        ray.shutdown(_exiting_interpreter=True)
    messages.error(message)
    return code
