"""All numbers of a study in one dictionary: that of ``report.json``, and of the page."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import date
from typing import Any

from knife_jax.console.scrub import scrub
from knife_jax.report.measures import FRESH, Compared, Values, measure, surgery
from knife_jax.report.runs import Run


def numbers(
    runs: Sequence[Run], compared: Compared, notes: Sequence[str], command: str
) -> dict[str, Any]:
    """The measures of runs that can be compared, with their intervals, and where they are from."""
    fresh = compared.courses.get(FRESH)
    lacking = [] if fresh is not None else [f"no plasticity gap: {FRESH} is not among the runs"]
    measured = {
        run.name: measure(run, compared.courses[run.name], None if run.name == FRESH else fresh)
        for run in runs
    }
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
        "scale": compared.scale,
        "notes": [*notes, *lacking],
        "methods": {
            run.name: {
                "seeds": run.seeds,
                "wall_seconds": run.summary.get("wall_seconds"),
                **{name: _numbers(v) for name, v in measured[run.name].items()},
                **surgery(run),
            }
            for run in runs
        },
    }


def _numbers(values: Values) -> dict[str, Any]:
    """A measure as JSON: intervals of the stratified bootstrap and of that by whole seeds."""
    value, *interval = map(float, values.estimate())
    _, *by_seed = map(float, values.estimate(whole_seeds=True))
    return {"iqm": value, "interval": interval, "interval_by_seed": by_seed}
