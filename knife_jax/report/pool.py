"""Runs of one configuration that differ in their seeds are one method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knife_jax.records.compare import hash_of
from knife_jax.report.runs import Run


def pooled(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Methods -> the runs that each is made of, in their order.

    Runs belong together if their configurations differ in seeds alone, they came equally far, and
    no seed is there twice. Together they are called after their algorithm if nothing else is; a
    run on its own keeps its name.
    """
    alike: dict[tuple, list[Run]] = {}
    for run in runs:
        settings = {k: v for k, v in run.config.items() if k not in ("seed", "num_seeds")}
        ends = max((record["env_steps"] for record in run.records), default=0)
        key = hash_of(settings), run.summary.get("status"), ends
        alike.setdefault(key, []).append(run)
    out: dict[str, list[Run]] = {}
    for together in alike.values():
        seeds = [seed for run in together for seed in run.seeds]
        if len(seeds) > len({*seeds}):
            out |= {run.name: [run] for run in together}
        elif len(together) == 1:
            out[together[0].name] = together
        else:
            label = _label(together[0])
            taken = {*out, *(run.name for run in runs)}
            out[together[0].name if label in taken else label] = together
    return out


def methods(runs: Sequence[Run]) -> list[Run]:
    """A run for each method, with the seeds of all its runs."""
    return [merged(name, together) for name, together in pooled(runs).items()]


def merged(name: str, runs: Sequence[Run]) -> Run:
    """Runs as if all of their seeds had been trained in one."""
    first = runs[0]
    if len(runs) == 1:
        return first
    seeds = sorted(seed for run in runs for seed in run.seeds)
    seconds = [run.summary["wall_seconds"] for run in runs if "wall_seconds" in run.summary]
    spent = sum(seconds) if len(seconds) == len(runs) else None
    return Run(
        name,
        [record for run in runs for record in run.records],
        seeds,
        {**first.config, "seed": seeds[0], "num_seeds": len(seeds)},
        {**first.summary, "wall_seconds": spent} if first.summary else {},
        tuple(folder for run in runs for folder in run.folders),
    )


def _label(run: Run) -> str:
    """The name of its algorithm, else its own."""
    algo = run.config.get("algo")
    return str(algo.get("name", run.name)) if isinstance(algo, Mapping) else run.name
