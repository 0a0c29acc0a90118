"""Training from Python: as the command line trains, with exceptions in place of exit codes."""

from __future__ import annotations

import signal
from dataclasses import replace

from knife_jax.api.run import Run, RunError
from knife_jax.config.run import Config, check_config
from knife_jax.config.schema import ConfigError
from knife_jax.console.exit_codes import is_of_signal, of_signal
from knife_jax.host import loop
from knife_jax.host.failures import outcome
from knife_jax.records.directory import directory_of


def train(config: Config) -> Run:
    """Train a configuration to its end; see ``knife_jax.train``."""
    check_config(config)
    config.env.check_installed()
    folder = directory_of(config)
    try:
        code = loop.run(replace(config, run_dir=str(folder)), leave_at_once=False)
    except ConfigError:
        raise
    except Exception as error:
        ended = outcome(error)
        if ended is None:
            raise
        raise RunError(ended[1]) from None
    if code == of_signal(signal.SIGINT):
        raise KeyboardInterrupt(f"{folder} is saved, and goes on with resume=auto")
    if is_of_signal(code):
        raise SystemExit(code)
    return Run(folder)
