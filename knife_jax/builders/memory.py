"""What a run needs at least, and whether the machine has it: checked before anything is compiled.

Only what is certainly there at once is counted, so that no run that fits is refused; what the
compiled program keeps in between comes on top of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from knife_jax.config.run import Config
from knife_jax.config.schema import ConfigError
from knife_jax.envs.base import EnvSpec
from knife_jax.training.state import TrainState
from knife_jax.types import PyTree

TYPICAL = {
    "algo.buffer_size": 10_000, "algo.batch_size": 32, "algo.window": 16, "algo.hidden": 64,
    "algo.embed": 32, "algo.hyper_hidden": 64, "algo.updates_per_round": 16, "env.n_envs": 128,
    "env.size": 10, "env.n_agents": 8, "env.n_stags": 8, "env.n_hares": 8, "env.view": 2,
    "env.time_limit": 200, "num_seeds": 10, "evaluation.episodes": 128, "probes.windows": 32,
    "plasticity.slots": 2,
}  # fmt: skip
"""sizes that fit any machine: the field that is the most times as large is named"""

CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
WORD = 4
"""bytes of a float"""


def check_sizes(config: Config, spec: EnvSpec | None = None) -> None:
    """Raise ``ConfigError`` if the sizes of a config, and of its environment, cannot fit.

    Plain arithmetic, since arrays of such sizes cannot even be described.
    """
    algo, seeds = config.algo, config.num_seeds
    agents, seen, horizon = 1, 2, 1
    if spec is not None:
        agents, horizon = spec.n_agents, spec.horizon
        seen = agents * spec.obs_size + spec.state_size
    length = horizon if algo.data == "episodes" else algo.window
    carry = WORD * agents * algo.hidden
    window = carry + (length + algo.memory) * WORD * (seen + 1)
    networks = 6 * algo.hidden**2 + algo.embed * algo.hyper_hidden
    n_envs = config.env.n_envs
    windows = algo.stored(n_envs) + max(algo.batch_size, n_envs)
    trained = (
        3 * WORD * networks  # with targets and moments
        + n_envs * carry
        + windows * window
        + algo.updates_per_round * 10 * WORD  # what each gradient step reports
    )
    evaluated = config.evaluation.episodes * carry
    probed = config.probes.windows * window if config.probes.every else 0
    _fit(config, seeds * (trained + max(evaluated, probed)), _room())


def check_state(config: Config, state: TrainState) -> None:
    """The same for the shapes of the training state of all seeds."""
    _fit(config, _bytes(state), _room())


def check_saving(config: Config, state: Any) -> None:
    """The same for the state of all seeds together with the copy that checkpoints are written
    from, which lacks the replay with ``checkpoint.buffer=none``."""
    kept = state.replace(replay=()) if config.checkpoint.buffer == "none" else state
    held = _bytes(state) if jax.default_backend() == "cpu" else 0
    _fit(config, held + _bytes(kept), _ram())


def uncountable(config: Config) -> ConfigError:
    """The error for sizes whose products overflow."""
    name, value = _largest(config)
    return ConfigError(f"{name}={value} is refused: the sizes of its arrays cannot be counted")


def _fit(config: Config, needed: int, room: int | None) -> None:
    if room is not None and needed > room:
        name, value = _largest(config)
        raise ConfigError(
            f"{name}={value} is refused: training would need at least {amount(needed)}, "
            f"this machine has {amount(room)}"
        )


def _largest(config: Config) -> tuple[str, int]:
    """The field that is the most times as large as is typical, and its value."""

    def times(item: tuple[str, int]) -> float:
        return item[1] / TYPICAL[item[0]]

    return max(_sizes(config), key=times)


def _sizes(config: Config) -> Iterator[tuple[str, int]]:
    for name in TYPICAL:
        section, _, field = name.rpartition(".")
        value = getattr(getattr(config, section) if section else config, field, None)
        if isinstance(value, int):
            yield name, value


def _bytes(tree: PyTree) -> int:
    def size(leaf: Any) -> int:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return leaf.size * (8 if is_key else leaf.dtype.itemsize)

    return sum(map(size, jax.tree.leaves(tree)))


def _room() -> int | None:
    """What all devices hold together; None if they do not say."""
    try:
        devices = jax.devices()
    except RuntimeError:  # no backend: reported once there is a run that can keep it
        return None
    if devices[0].platform == "cpu":
        ram = _ram()
        return ram and ram * jax.process_count()
    stats = jax.local_devices()[0].memory_stats() or {}
    limit = stats.get("bytes_limit")
    return limit and limit * len(devices)


def _ram() -> int | None:
    """The memory of this machine, or what its control group may use of it."""
    limits = []
    with suppress(ValueError, OSError, AttributeError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in CGROUP:
        with suppress(ValueError, OSError):  # there is none, or it is "max"
            limits.append(int(file.read_text()))
    return min(limits, default=None)


def amount(n_bytes: int) -> str:
    """Bytes in words: ``3.2 GiB``."""
    power = min(max(n_bytes.bit_length() - 1, 0) // 10, len(UNITS) - 1)
    return f"{n_bytes / 1024**power:.3g} {UNITS[power]}"
