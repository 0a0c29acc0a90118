"""Runs of one configuration that differ in their seeds are one method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knife_jax.records.compare import hash_of
from knife_jax.report.runs import Run


def pooled(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Methods -> the runs that each is made of, in their order.

    Runs belong together if their configurations differ in seeds alone, the same code made them,
    they came equally far, and no seed is there twice. Together they are called after their
    algorithm, or their plasticity method if it tells them apart and the algorithm does not; a run
    on its own keeps its name.
    """
    alike: dict[tuple, list[Run]] = {}
    for run in runs:
        settings = {k: v for k, v in run.config.items() if k not in ("seed", "num_seeds")}
        ends = max((record["env_steps"] for record in run.records), default=0)
        key = hash_of(settings), run.summary.get("status"), ends, _code(run)
        alike.setdefault(key, []).append(run)
    several = [together for together in alike.values() if _is_method(together)]
    labels = {together[0].name: together[0].name for together in several}
    for section in ("plasticity", "algo"):  # the algorithm wins
        named = [_label(together[0], section) for together in several]
        for together, label in zip(several, named, strict=True):
            if named.count(label) == 1 and label not in {run.name for run in runs}:
                labels[together[0].name] = label
    out: dict[str, list[Run]] = {}
    for together in alike.values():
        if _is_method(together):
            out[labels[together[0].name]] = together
        else:
            out |= {run.name: [run] for run in together}
    return out


def _is_method(together: Sequence[Run]) -> bool:
    """Whether runs are several, with seeds of their own each."""
    seeds = [seed for run in together for seed in run.seeds]
    return len(together) > 1 and len(seeds) == len({*seeds})


def _code(run: Run) -> str:
    """What computed a run, as far as it is known."""
    versions = run.summary.get("versions") or {}
    return repr([versions.get("knife_jax"), versions.get("env_code")])


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


def _label(run: Run, section: str) -> str:
    """The name of its algorithm or of its method, else its own."""
    given = run.config.get(section)
    return str(given.get("name", run.name)) if isinstance(given, Mapping) else run.name
