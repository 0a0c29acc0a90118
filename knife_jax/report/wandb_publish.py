"""The W&B Report on a study: sent if there is a key, else written as what would be sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knife_jax.console import messages
from knife_jax.console.messages import one_line, say, warn
from knife_jax.console.scrub import scrub
from knife_jax.records import directory
from knife_jax.report.load import load
from knife_jax.report.measures import compare
from knife_jax.report.numbers import numbers
from knife_jax.report.protocol import ProtocolOf
from knife_jax.report.runs import folders

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2.interface as wr

FILE = "wandb_report.json"


def publish(
    paths: Sequence[Path],
    project: str,
    entity: str | None,
    out: Path,
    command: str,
    protocol_of: ProtocolOf,
) -> bool:
    """Publish the report on some runs, or write its JSON to ``out``.

    Returns False, after one line that says why, if there is nothing to report, W&B refuses it (the
    JSON is then written, too), or the file cannot be written.
    """
    if find_spec("wandb_workspaces") is None:
        messages.error("wandb-workspaces is not installed: pip install 'knife_jax[report]'")
        return False
    runs, notes = load(folders(paths))
    for note in notes:
        warn(note)
    if not runs:
        messages.error("no report: there is no run that came to its end")
        return False
    from knife_jax.report.wandb_panels import build

    try:
        compared = compare(runs)
    except ValueError as error:
        messages.error(f"no report: {error}")
        return False
    counted = numbers(runs, compared, notes, command, protocol_of)
    report = build(counted, runs, compared.metric, project, entity or "")
    refused = None
    if _signed_in():
        try:
            report.entity = entity or _own_entity()
            report.save()
            say(f"published: {report.url}")
            return True
        except Exception as error:  # whatever its client meets
            refused = one_line(error)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        directory.write_json(out, payload(report))
    except OSError as error:
        messages.error(f"{error.filename or out} cannot be written: {error.strerror or error}")
        return False
    if refused is not None:
        messages.error(f"not published, what would be sent is in {out}: {refused}")
        return False
    say(scrub(f"{out}: what would be sent; to publish it: wandb login, then this command again"))
    return True


def payload(report: wr.Report) -> Mapping[str, Any]:
    """The variables of the request with which W&B's API creates a report."""
    model = report._to_model()
    return {
        "id": None,
        "name": model.name,
        "entityName": report.entity,
        "projectName": report.project,
        "description": report.description,
        "displayName": report.title,
        "type": "runs",
        "spec": model.spec.model_dump_json(by_alias=True, exclude_none=True),
    }


def _signed_in() -> bool:
    """Whether there is a W&B key. Nothing is asked, and nothing is sent."""
    import wandb

    wandb.setup(wandb.Settings(silent=True))
    return wandb.login(prompt=False, verify=False)


def _own_entity() -> str:
    import wandb

    return wandb.Api().default_entity or ""
