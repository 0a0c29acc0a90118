"""One job of a sweep: its folder, its score, its failure. Hydra starts it."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from knife_jax.cli.compose import read
from knife_jax.config.run import Config
from knife_jax.console import messages
from knife_jax.console.exit_codes import FAILED, is_of_signal
from knife_jax.console.messages import say
from knife_jax.console.streams import outlast_readers


class JobError(Exception):
    """A job ended with an exit code other than 0; launchers continue with the others."""

    def __init__(self, job: str, code: int) -> None:
        super().__init__(job, code)
        self.job, self.code = job, code

    def __str__(self) -> str:
        return f"job {self.job} ended with code {self.code}"


def run(composed: DictConfig, swept: Collection[str]) -> float:
    """Train in a folder inside that of the sweep, named by what is ``swept``; the final score.

    Raises ``JobError`` if training fails, ``SystemExit`` if it is interrupted.
    """
    outlast_readers()
    # jax is first imported here
    from knife_jax.host.loop import train

    config = _in_own_folder(read(composed), swept)
    folder = Path(str(config.run_dir))
    say(f"job {folder.name}")
    try:
        code = train(config)
    except Exception:  # whatever it is, other processes can read the error that is made of it
        messages.trace()
        code = FAILED
    if is_of_signal(code):  # interrupted: no further jobs
        sys.exit(code)
    if code:
        error = JobError(folder.name, code)
        messages.error(str(error))
        raise error
    return _score(folder)


def _score(folder: Path) -> float:
    """The final greedy win rate of a run, else its return: the mean over seeds, nan if unknown."""
    from knife_jax.records.directory import SUMMARY

    done = json.loads((folder / SUMMARY).read_text())
    scores = (done["final_win_rate_mean"], done["final_return_mean"])
    return next((score for score in scores if score is not None), math.nan)


def _in_own_folder(config: Config, swept: Collection[str]) -> Config:
    """From the folder that the sweep was started in, wherever the job runs."""
    settings = HydraConfig.get()
    words = [word for word in settings.overrides.task if word.partition("=")[0] in swept]
    name = "_".join(filter(None, [str(settings.job.num), ",".join(words)]))
    name = re.sub(r"\d+\.\d{5,}(e-\d+)?", lambda number: f"{float(number[0]):.4g}", name)
    name = re.sub(r"[^\w.,=+-]+", "_", name)[:100]
    return replace(config, run_dir=str(Path(settings.runtime.cwd, settings.sweep.dir, name)))
