"""How an error ends a run: with an exit code and one line, or with a traceback if it is a bug."""

from __future__ import annotations

from contextlib import suppress

import jax

from knife_jax.config.games import GamesError
from knife_jax.config.schema import ConfigError
from knife_jax.console.exit_codes import FAILED, REFUSED
from knife_jax.console.messages import one_line
from knife_jax.envs.contract import ContractError
from knife_jax.host import summary
from knife_jax.host.run import RunInfo
from knife_jax.host.stored import ResumeError
from knife_jax.records.checkpoint import NotSavedError
from knife_jax.records.directory import METRICS, RunDirectoryError, begin
from knife_jax.records.lines import RecordError
from knife_jax.records.reading import Status

REFUSALS = (ConfigError, RunDirectoryError, ResumeError)
"""raised before anything is written"""


def outcome(error: Exception) -> tuple[int, str] | None:
    """The exit code and the line for the user; None for an error that only a bug can raise."""
    match error:
        case _ if isinstance(error, REFUSALS):
            return REFUSED, str(error)
        case (
            NotSavedError() | RecordError() | FloatingPointError() | ContractError() | GamesError()
        ):
            return FAILED, str(error)
        case OSError():
            path = error.filename or "the run directory"
            return FAILED, f"{path} cannot be written: {error.strerror or error}"
        case MemoryError() | OverflowError():
            return FAILED, f"the run is too large for this machine: {one_line(error)}"
        case jax.errors.JaxRuntimeError() if _is_out_of_memory(str(error)):
            return FAILED, f"the run is too large for this machine: {one_line(error)}"
        case RuntimeError() if "Unable to initialize backend" in str(error):  # as jax says it
            return FAILED, one_line(error)
    return None


def leave_failed(info: RunInfo, error: BaseException) -> None:
    """Say in the run directory what went wrong; a run to resume that has not begun yet is left."""
    info.error = one_line(error)
    with suppress(OSError, RunDirectoryError, RecordError):
        if not (info.folder / METRICS).exists():
            begin(info.folder, info.config)
            info.begun = True
        if info.begun:
            summary.write(info, Status.FAILED)


def _is_out_of_memory(text: str) -> bool:
    return "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower()
