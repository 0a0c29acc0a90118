"""A study in the blocks and panels of W&B's reports API."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knife_jax.console.scrub import scrub
from knife_jax.records.directory import RECORDING
from knife_jax.report.runs import Run
from knife_jax.report.table import COLUMNS, table
from knife_jax.sinks.wandb import known_id

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own old pydantic
    import wandb_workspaces.expr as expr
    import wandb_workspaces.reports.v2.interface as wr

SCORE = "eval/{metric}"
SOURCES = {
    SCORE: ("score", "area", "gap_slope", "recovery_steps"),
    f"{SCORE}, last quarter": ("late_score", "late_gap"),
    "stagnant_pct": ("final_stagnant_pct",),
    "dormant_pct": ("final_dormant_pct",),
    "surgery/churn_max": ("churn_max",),
    "surgery/units_operated": ("units_operated",),
}
"""what W&B has of a run -> the measures of the table that are made of it"""


def build(
    report: Mapping[str, Any],
    runs: Sequence[Run],
    metric: str,
    project: str,
    entity: str,
) -> wr.Report:
    """The W&B Report on a study.

    Args:
        report: What ``report.json`` holds.
        runs: The runs that are compared.
        metric: The score that is compared, ``return`` or ``win_rate``.
        project: The W&B project of the runs, and of the report.
        entity: Its user or team.
    """
    experiment = runs[0].config.get("experiment", {}).get("name", "none")
    what = report["env"]["name"] if experiment == "none" else experiment
    sets = [_run_set(run) for run in runs]
    media = wr.MediaBrowser(
        title="last policies at play",
        media_keys=[Path(RECORDING).stem],
        layout=wr.Layout(x=0, y=0, w=24, h=12),
    )
    made = "\n".join(_origin(report, runs, experiment))
    blocks: list[wr.BlockTypes] = [
        wr.MarkdownBlock(scrub(table(report))),
        wr.H2("Curves"),
        wr.P("Means over seeds; bands go from the lowest to the highest seed."),
        wr.PanelGrid(runsets=sets, panels=_panels(report, metric)),
        wr.H2("Recordings"),
        wr.PanelGrid(runsets=sets, panels=[media]),
        wr.H2("How it was made"),
        wr.CodeBlock(made, language="python"),
    ]
    return wr.Report(
        project=project,
        entity=entity,
        title=scrub(f"{what}: {', '.join(run.name for run in runs)}")[:128],
        description=f"{len(runs)} methods compared by knife_jax, {report['date']}",
        blocks=blocks,
        width="fluid",
    )


def _run_set(run: Run) -> wr.Runset:
    """The runs of a method, by their ids in W&B, else by the names of their folders."""
    known = [known_id(folder) for folder in run.folders]
    by_id = expr.Metric("ID").isin(known)
    by_name = expr.Metric("Name").isin([*map(scrub, run.folder_names)])
    return wr.Runset(name=scrub(run.name), filters=expr.And(by_id if all(known) else by_name))


def _panels(report: Mapping[str, Any], metric: str) -> list[wr.PanelTypes]:
    """A panel for what each measure of the table is made of, in two columns."""
    methods, steps = report["methods"].values(), report["env_steps"]
    out = list[wr.PanelTypes]()
    for source, measures in SOURCES.items():
        shown = [
            COLUMNS[name]
            for name in measures
            if any(numbers.get(name) is not None for numbers in methods)
        ]
        if not shown:
            continue
        key, _, window = source.format(metric=metric).partition(", ")
        x, y = len(out) % 2 * 12, len(out) // 2 * 8
        out.append(
            wr.LinePlot(
                title=f"{key.replace('_', ' ')} ({'; '.join(shown)})",
                x="env_steps",
                y=[key],
                metric_regex=rf"^seed\d+/{key}$",
                groupby=wr.Config("plasticity.name"),
                groupby_aggfunc="mean",
                groupby_rangefunc="minmax",
                range_x=(0.75 * steps, steps) if window else (None, None),
                title_x="environment steps per seed",
                layout=wr.Layout(x=x, y=y, w=12, h=8),
            )
        )
    return out


def _origin(report: Mapping[str, Any], runs: Sequence[Run], experiment: str) -> list[str]:
    """Commands, machine and versions."""
    machine, lines = report["machine"], list[str]()
    if experiment != "none":
        methods = ",".join(run.name for run in runs)
        lines.append(f"python -m knife_jax.study {experiment} --methods {methods}")
    lines.append(report["command"])
    lines = [*map(scrub, lines)]  # alone: a commit looks like a key
    lines += [f"# {report['date']}, {machine['cores']} CPU cores"]
    lines[-1] += f" ({machine['system']}, {machine['processor']})"
    versions = {
        key: value for key, value in (report["versions"] or {}).items() if isinstance(value, str)
    }
    return [*lines, *(f"# {name} {value}" for name, value in versions.items())]
