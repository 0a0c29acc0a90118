"""The contract of an environment (see ``base``), checked by counting breaches while it is played.

A breach would otherwise pass unnoticed: an episode that outlasts ``spec.horizon`` is cut by
evaluation alone, an agent without an available action takes the first one, a reward that is not
finite looks like a seed that has diverged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from knife_jax.envs.base import EnvSpec, TimeStep, VecEnv

OVERLONG, REWARD = "overlong", "reward"

BREACHES = {
    OVERLONG: "episodes that were not over after spec.horizon={horizon} transitions",
    "avail": "time steps in which an agent has no available action",
    REWARD: "rewards that are not finite",
    "seen": "time steps with an observation or a state that is not finite",
    "first": "time steps that are marked as the first of an episode and are not, or the reverse",
    "paid": "first time steps with a reward",
    "ends": "time steps both terminated and truncated, or won before the episode's end",
}
"""what is counted -> what it is, in words"""


class ContractError(ValueError):
    """An environment breaks its contract. The message is one line."""

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        super().__init__(f"environment {name!r} breaks its contract: {', '.join(faults)}")
        self.faults = faults


def breaches(
    spec: EnvSpec,
    now: TimeStep,
    after: TimeStep,
    begun: Int[Array, "E"],
    steps: Int[Array, "E"],
) -> dict[str, Bool[Array, "E"]]:
    """Find which of E environments break their contract in one step, by name.

    Args:
        spec: the sizes that the environment declares.
        now: the time step before the action.
        after: the time step that follows it.
        begun: transitions of the episode up to ``now``; a last time step has none.
        steps: transitions of the episode up to ``after``.

    Returns:
        Whether each environment does, for each name of ``BREACHES``.
    """

    def anywhere(mask: Array) -> Bool[Array, "E"]:
        return jnp.any(mask.reshape(len(mask), -1), axis=1)

    return {
        OVERLONG: (steps == spec.horizon) & ~after.last & ~after.first,
        "avail": anywhere(~jnp.any(now.avail_actions, axis=-1)),
        REWARD: ~jnp.isfinite(after.reward),
        "seen": anywhere(~jnp.isfinite(now.obs)) | anywhere(~jnp.isfinite(now.state)),
        "first": now.first != ((begun == 0) & ~now.last),
        "paid": now.first & (now.reward != 0),
        "ends": (after.terminated & after.truncated) | (after.won & ~after.last),
    }


def check(spec: EnvSpec, counts: Mapping[str, Any]) -> None:
    """Raise ``ContractError`` if any of the counts is not zero; they may be arrays."""
    totals = {name: int(np.sum(counts.get(name, 0))) for name in BREACHES}
    found = [
        f"{n:,} {BREACHES[name].format(horizon=spec.horizon)}" for name, n in totals.items() if n
    ]
    if found:
        raise ContractError(spec.name, found)


def check_shapes(env: VecEnv) -> None:
    """Raise ``ContractError`` unless ``reset`` and ``step`` return the shapes of the spec."""
    spec, e = env.spec, env.n_envs

    def played(key: Array) -> tuple[TimeStep, TimeStep]:
        state, first = env.reset(key)
        return first, env.step(state, jnp.zeros((e, spec.n_agents), jnp.int32))[1]

    first, after = jax.eval_shape(played, jax.random.key(0))
    found = wrong_shapes(spec, first, "reset", (e,)) + wrong_shapes(spec, after, "step", (e,))
    if found:
        raise ContractError(spec.name, found)


def wrong_shapes(
    spec: EnvSpec, time_step: TimeStep, method: str, lead: tuple[int, ...] = ()
) -> list[str]:
    """What of a time step, whose leaves may be abstract, is not as the spec says.

    Args:
        spec: the sizes that the environment declares.
        time_step: what ``method`` returned.
        method: ``reset`` or ``step``.
        lead: the axes before those of one environment: ``(E,)`` in a ``VecEnv``.

    Returns:
        A line for each: the field, its dtype and shape, and what they must be.
    """
    sizes = {
        "obs": (spec.n_agents, spec.obs_size), "state": (spec.state_size,),
        "avail_actions": (spec.n_agents, spec.n_actions),
    }  # fmt: skip
    found = []
    for name, leaf in vars(time_step).items():
        shape = (*lead, *sizes.get(name, ()))
        kind = "float" if name in ("obs", "state", "reward") else "bool"
        array = hasattr(leaf, "shape") and hasattr(leaf, "dtype")
        if array and leaf.shape == shape and jnp.issubdtype(leaf.dtype, KINDS[kind]):
            continue
        given = f"{leaf.dtype} {list(leaf.shape)}" if array else f"of type {type(leaf).__name__}"
        found.append(f"{name} of {method} is {given}, must be {kind} {list(shape)}")
    return found


KINDS = {"float": jnp.floating, "bool": jnp.bool_}
