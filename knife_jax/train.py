"""``python -m knife_jax.train``: check the command line, then train."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from knife_jax import __version__, cli
from knife_jax.config import Config
from knife_jax.schema import ConfigError
from knife_jax.scrub import scrub
from knife_jax.usage import help_text

REFUSED = 2
"""exit code for a command line that is not accepted"""


def main() -> None:
    """Run what the command line asks for; exit with 2 and one line if it cannot be accepted."""
    try:
        words = cli.parse(sys.argv[1:])
        if words.has("--version"):
            print(f"knife_jax {__version__}")
            return
        config = cli.preflight(words)
    except ConfigError as error:
        print(f"error: {scrub(str(error))}", file=sys.stderr)
        sys.exit(REFUSED)
    if words.has("--help", "-h"):
        print(help_text(config))
        return
    sys.argv[1:] = words.argv()
    if words.has("-m", "--multirun"):
        folder = cli.sweep_dir(config).replace("'", r"\'")
        sys.argv.append(f"hydra.sweep.dir='{folder}'")
    sys.exit(_launch(words.swept()))


def _launch(swept: list[str]) -> int:
    """Hand over to Hydra, which starts one job or many. The largest exit code of the jobs."""
    codes = [0]

    def job(composed: DictConfig) -> None:
        # jax is first imported here
        from knife_jax.host.loop import train

        codes.append(train(_own_folder(cli.read(composed), swept)))
        if codes[-1] > 128:  # interrupted: no further jobs
            sys.exit(codes[-1])

    hydra.main(version_base="1.3", config_path=str(cli.configs_dir()), config_name="train")(job)()
    return max(codes)


def _own_folder(config: Config, swept: list[str]) -> Config:
    """In a sweep, the job's own folder inside that of the sweep, named by what is swept."""
    settings = HydraConfig.get()
    if settings.mode != RunMode.MULTIRUN:
        return config
    words = [word for word in settings.overrides.task if word.partition("=")[0] in swept]
    name = re.sub(r"[^\w.,=+-]+", "_", f"{settings.job.num}_{','.join(words)}")[:100]
    print(f"job {name}")
    return replace(config, run_dir=str(Path(settings.sweep.dir) / name))


if __name__ == "__main__":
    main()
