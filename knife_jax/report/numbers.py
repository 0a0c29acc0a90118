"""All numbers of a study in one dictionary, from which its table and figures are made: that of
``report.json``."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np

from knife_jax.config.protocol import Question, protocol
from knife_jax.config.schema import ConfigError
from knife_jax.console.scrub import scrub
from knife_jax.records.series import series
from knife_jax.report import continual
from knife_jax.report.differences import as_json, differences
from knife_jax.report.grid import choices
from knife_jax.report.measures import FRESH, Compared, has_own_drawings, measure, surgery
from knife_jax.report.protocol import ProtocolOf, added, answers, began_with, changes, present
from knife_jax.report.runs import Run
from knife_jax.report.stats import thinned

PRIMARY = "late_score"
"""the measure of the differences if no protocol names another"""
NEURONS = ("dormant_pct", "stagnant_pct")
MOMENTS = 100
"""of a curve of neurons that are kept"""


def numbers(
    runs: Sequence[Run],
    compared: Compared,
    notes: Sequence[str],
    command: str,
    protocol_of: ProtocolOf,
) -> dict[str, Any]:
    """The measures of runs that can be compared, with their intervals, their differences, the
    answers that the protocol of their study asks for, and where they are from."""
    fresh = compared.courses.get(FRESH)
    lacking = [] if fresh is not None else [f"no plasticity gap: {FRESH} is not among the runs"]
    measured = {
        run.name: measure(run, compared.courses[run.name], None if run.name == FRESH else fresh)
        for run in runs
    }
    asked, said = _asked(runs, compared, protocol_of)
    return {
        "command": scrub(command),
        "date": date.today().isoformat(),
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
        "versions": next(
            (run.summary["versions"] for run in runs if "versions" in run.summary), None
        ),
        "env": runs[0].config["env"],
        "env_steps": max(record["env_steps"] for record in runs[0].records),
        "metric": compared.metric,
        "scale": compared.scale,
        "own_drawings": has_own_drawings(runs[0].config),
        "notes": [*notes, *lacking, *said],
        **asked,
        "methods": {
            run.name: {
                "seeds": run.seeds,
                "wall_seconds": run.summary.get("wall_seconds"),
                **{name: as_json(v) for name, v in measured[run.name].items()},
                **surgery(run),
            }
            for run in runs
        },
        "choices": choices(runs),
        "courses": {run.name: _courses(run, compared) for run in runs},
    }


def _asked(
    runs: Sequence[Run], compared: Compared, protocol_of: ProtocolOf
) -> tuple[dict[str, Any], list[str]]:
    """The protocol with its answers and the differences; and what is to be noted of it."""
    began = began_with(runs)
    now = present(runs, protocol_of, began)
    read, said, primary, questions = None, list[str](), PRIMARY, list[Question]()
    if now is not None:
        try:
            read = protocol(now)
        except ConfigError as error:  # of another version
            said.append(f"protocol: {error}")
    if now is not None and read is not None:
        primary, questions = read.primary, [*read.asked().values()]
        said += changes(now, began)
    pairs = differences(compared, primary, questions)
    out = {"primary": primary, "protocol": None, "differences": pairs, "answers": []}
    if now is not None and read is not None:
        out |= {"protocol": now, "answers": answers(read, pairs, added(now, began))}
    return out, said


def _courses(run: Run, compared: Compared) -> dict[str, Any]:
    """What figures show of a method: scores at task ends by seed, in the order of training, and
    neurons over training, means over seeds."""
    ends = continual.at_task_end(compared.courses[run.name])
    out: dict[str, Any] = {"task_end_by_seed": np.round(ends, 3).tolist()}
    for name in NEURONS:
        steps, values = series(run.records, "train", name)
        if steps.size:
            shown = thinned(steps.size, MOMENTS)
            means = np.nanmean(values[:, shown], axis=0)
            out[name] = {"env_steps": steps[shown].tolist(), "mean": np.round(means, 2).tolist()}
    return out
