"""The jobs that a command line asks for, all of them checked before the first one starts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from decimal import Decimal, DecimalException

from hydra.core.override_parser.types import (
    IntervalSweep,
    Override,
    RangeSweep,
    ValueType,
)
from omegaconf import DictConfig

from knife_jax.cli.compose import SWEEPERS, chooses, chosen_files, composed
from knife_jax.cli.words import Words, override, plain
from knife_jax.config.run import PATHS, Config
from knife_jax.config.schema import ConfigError

LISTS = (ValueType.SIMPLE_CHOICE_SWEEP, ValueType.CHOICE_SWEEP, ValueType.RANGE_SWEEP)

MAX_JOBS = 1000
"""a larger sweep is refused: Hydra alone takes 0.1 s to compose each job, before it starts any"""

MOST_COMBINATIONS = 32
"""a larger sweep is checked value by value instead"""


def preflight(words: Words) -> Config:
    """Compose every job that a command line asks for. The first one's configuration.

    Raises ``ConfigError`` for the first thing refused.
    """
    return planned(words)[1]


def planned(words: Words) -> tuple[Words, Config]:
    """The words with what a file of ``search`` adds, and the configuration of their first job.

    Raises ``ConfigError`` for the first thing refused in any job.
    """
    every = True
    if words.is_sweep():
        words, every = _with_search(words)
    else:
        _check_single(words)
    found = {} if words.config_dir else None  # the package's own files are kept for good
    jobs = _jobs([o for o in words.overrides if not o.is_hydra_override()], every)
    first, *_ = [composed(job, words.config_dir, found) for job in jobs]
    return words, first


def settings(words: Words) -> DictConfig:
    """Hydra's own settings. Raises ``ConfigError``."""
    chosen = [plain(o) for o in words.overrides if chooses(o) and not o.is_sweep_override()]
    return chosen_files(chosen, words.config_dir, settings=True).hydra


def _check_single(words: Words) -> None:
    for o in words.overrides:
        if o.is_sweep_override():
            raise ConfigError(f"{plain(o)} is a sweep: add -m, or quote the value")
        of_hydra = o.is_hydra_override() and words.flags.get("--cfg", "job") == "job"
        if o.key_or_group in SWEEPERS or of_hydra:
            raise ConfigError(f"{plain(o)} is for sweeps: add -m")


def _with_search(words: Words) -> tuple[Words, bool]:
    """With the values that a file of ``search`` lists; whether all combinations are run."""
    for o in words.overrides:
        name = o.key_or_group
        if o.is_sweep_override() and (name in SWEEPERS or o.is_hydra_override()):
            raise ConfigError(f"{name} cannot be swept: all jobs of a sweep have the same")
    sweeper = settings(words).sweeper
    every = "Basic" in sweeper["_target_"]
    for o in words.overrides:
        if isinstance(o.value(), IntervalSweep) and every:
            raise ConfigError(f"{plain(o)} is refused: intervals need search=...")
    given = {o.key_or_group for o in words.overrides}
    searched = []
    for name, values in (sweeper.get("params") or {}).items():
        o = override(f"{name}={values}", words.config_dir)
        if o.key_or_group in (*SWEEPERS, *PATHS):
            raise ConfigError(f"{name} cannot be swept: all jobs of a sweep have the same")
        if o.key_or_group not in given:  # the command line wins
            searched.append(o)
    if searched:
        searched.append(override("hydra.sweeper.params=null"))
    return words._replace(overrides=[*words.overrides, *searched]), every


def _jobs(overrides: Sequence[Override], every: bool) -> Iterator[list[Override]]:
    """The overrides of each job; for a large sweep, jobs that show each value once."""
    counts = [_count(o, every) for o in overrides]
    many = math.prod(counts) if every else max(counts, default=1)
    if many > MAX_JOBS:
        both = zip(overrides, counts, strict=True)
        words = " ".join(plain(o) for o, n in both if (n > 1 if every else n == many))
        figure = f"{many:,}" if many < 10**30 else "over 10^30"
        what = "jobs" if every else "values"
        raise ConfigError(f"{words}: {figure} {what} are refused: must be at most {MAX_JOBS:,}")
    values = [_values(o, every) for o in overrides]
    if math.prod(map(len, values)) <= MOST_COMBINATIONS:
        yield from map(list, itertools.product(*values))
        return
    first = [listed[0] for listed in values]
    yield first
    for i, listed in enumerate(values):
        for other in listed[1:]:
            yield [*first[:i], other, *first[i + 1 :]]


def _count(word: Override, every: bool) -> int:
    """How many values an override has, without listing them."""
    value = word.value()
    if not isinstance(value, RangeSweep):
        return len(getattr(value, "list", "1")) if word.is_sweep_override() else 1
    if not every and not value.shuffle:
        return 1
    try:
        start, stop, step = (Decimal(str(x)) for x in (value.start, value.stop, value.step))
        return max(0, math.ceil((stop - start) / step))
    except (DecimalException, ValueError, OverflowError):
        return 0


def _values(word: Override, every: bool) -> list[Override]:
    """What an override sets, job by job; of what is searched without a list, the ends."""
    if not word.is_sweep_override():
        return [word]
    name, value = word.key_or_group, word.value()
    if isinstance(value, IntervalSweep):
        ends = (value.start, value.end)
        return [override(f"{name}={end}") for end in ends]
    if isinstance(value, RangeSweep) and not every and not value.shuffle:
        return [override(f"{name}={end}") for end in (value.start, value.stop)]
    listed = word.sweep_string_iterator() if _count(word, True) and word.value_type in LISTS else ()
    values = [override(f"{name}={value}") for value in listed]
    if not values:
        raise ConfigError(f"{plain(word)} lists no values: write {name}=a,b or range(0,5)")
    return values
