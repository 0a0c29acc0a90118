"""From a run directory to its policy."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import NamedTuple

import jax

from knife_jax.api.policy import Policy
from knife_jax.api.run import Run, RunError
from knife_jax.builders.player import make_player
from knife_jax.config.schema import ConfigError
from knife_jax.console.messages import listed
from knife_jax.host.stored import ResumeError, find
from knife_jax.parallel import devices
from knife_jax.records.arrays import Arrays, shapes, to_tree
from knife_jax.records.checkpoint import committed
from knife_jax.records.compare import hash_of
from knife_jax.records.directory import CHECKPOINTS, PARAMS
from knife_jax.records.lines import ABSOLUTE, FINAL, RecordError
from knife_jax.records.params import read_about, read_params
from knife_jax.records.reading import read_config

ONLINE = "state/patient/online/"
"""of names in checkpoints: the networks that act"""


class Networks(NamedTuple):
    """The networks of a run at one moment, by the names of ``params.safetensors``."""

    file: str
    env_steps: int
    arrays: Arrays


def load(
    run: str | PathLike[str], checkpoint: str | int = "newest", seed: int | None = None
) -> Policy:
    """Load the policy of a run; see ``knife_jax.load``."""
    devices.begin(None)
    made = Run(run)
    config = made.config
    try:
        stored = _stored(made.dir, str(checkpoint))
        player = make_player(config)
    except (RecordError, ResumeError, ConfigError) as error:
        text = str(error)
        raise RunError(text if str(made.dir) in text else f"{made.dir}: {text}") from None
    seeds = config.seeds
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((len(seeds), *leaf.shape), leaf.dtype), player.shapes
    )
    needed = shapes(like)
    there = {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in stored.arrays.items()}
    if wrong := [name for name in {**needed, **there} if needed.get(name) != there.get(name)]:
        raise RunError(f"{made.dir}: {stored.file} is of other networks: {listed(wrong)}")
    variables = jax.device_put(to_tree(stored.arrays, like))
    kind = ABSOLUTE if checkpoint == "best" else FINAL
    policy = Policy(variables, player, tuple(seeds), stored.env_steps, kind)
    if seed is None:
        return policy
    if seed not in seeds:
        raise RunError(f"seed={seed!r} is refused: {made.dir} has {listed(seeds)}")
    return policy[seeds.index(seed)]


def _stored(run: Path, which: str) -> Networks:
    """What ``params.safetensors`` holds, if it is the newest and this is asked for; else what a
    checkpoint holds."""
    path, steps = run / PARAMS, committed(run / CHECKPOINTS)
    if which == "newest" and path.exists():
        about = read_about(path)
        same = about.get("config_hash") == hash_of(read_config(run))
        if same and about["env_steps"] >= max(steps, default=0):
            return Networks(PARAMS, about["env_steps"], read_params(path))
        if not same and not steps:
            raise RecordError(f"{PARAMS} is not that of this config.yaml")
    if not steps:
        if path.exists():
            raise ResumeError(
                f"checkpoint {which} is refused: must be newest, as {run} holds no checkpoints"
            )
        raise ResumeError(f"{run} is refused: it holds neither {PARAMS} nor a checkpoint")
    found = find(run, which)
    arrays = {k.removeprefix(ONLINE): v for k, v in found.arrays.items() if k.startswith(ONLINE)}
    return Networks(f"checkpoint {found.step:,}", found.step, arrays)
