"""What an environment promises (see ``base``), counted while it is played.

What breaks it would train in silence: an episode that outlasts ``spec.horizon`` is cut by
evaluation alone, an agent without a legal action takes the first one, a reward that is not finite
looks like a seed that has diverged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from knife_jax.envs.base import EnvSpec, TimeStep, VecEnv

OVERLONG, REWARD = "overlong", "reward"

BREACHES = {
    OVERLONG: "episodes that were not over after spec.horizon={horizon} transitions",
    "legal": "rows in which an agent has no legal action",
    REWARD: "rewards that are not finite",
    "seen": "rows with an observation or a state that is not finite",
    "first": "rows that are marked as the first of an episode and are not, or the reverse",
    "paid": "first rows with a reward",
    "ends": "rows that are both terminated and truncated, or won before the episode's end",
}
"""what is counted -> what it is, in words"""


class ContractError(ValueError):
    """An environment breaks its contract. The message is one line."""


def breaches(
    spec: EnvSpec,
    now: TimeStep,
    after: TimeStep,
    begun: Int[Array, "E"],
    steps: Int[Array, "E"],
) -> dict[str, Int[Array, ""]]:
    """How many of E environments break their contract in one step, by name.

    ``begun`` and ``steps`` are the transitions of the episode up to the row ``now`` and to the row
    ``after``; a last row has none.
    """

    def anywhere(mask: Array) -> Bool[Array, "E"]:
        return jnp.any(mask.reshape(len(mask), -1), axis=1)

    found = {
        OVERLONG: (steps == spec.horizon) & ~after.last & ~now.last,
        "legal": anywhere(~jnp.any(now.avail_actions, axis=-1)),
        REWARD: ~jnp.isfinite(after.reward),
        "seen": anywhere(~jnp.isfinite(now.obs)) | anywhere(~jnp.isfinite(now.state)),
        "first": now.first != ((begun == 0) & ~now.last),
        "paid": now.first & (now.reward != 0),
        "ends": (after.terminated & after.truncated) | (after.won & ~after.last),
    }
    return {name: jnp.sum(mask, dtype=jnp.int32) for name, mask in found.items()}


def check(spec: EnvSpec, counts: Mapping[str, Any]) -> None:
    """Raise ``ContractError`` if any of the counts is not zero; they may be arrays."""
    totals = {name: int(np.sum(counts.get(name, 0))) for name in BREACHES}
    found = [
        f"{n:,} {BREACHES[name].format(horizon=spec.horizon)}" for name, n in totals.items() if n
    ]
    if found:
        raise ContractError(f"environment {spec.name!r} breaks its contract: {', '.join(found)}")


def check_shapes(env: VecEnv) -> None:
    """Raise ``ContractError`` unless the rows of ``reset`` and ``step`` are as its spec says."""
    spec, e = env.spec, env.n_envs
    agents = (e, spec.n_agents)
    kinds = {"obs": "f", "state": "f", "reward": "f"}
    expected = {
        "obs": (*agents, spec.obs_size), "state": (e, spec.state_size),
        "avail_actions": (*agents, spec.n_actions),
    }  # fmt: skip

    def rows(key: Array) -> tuple[TimeStep, TimeStep]:
        state, row = env.reset(key)
        return row, env.step(state, jnp.zeros(agents, jnp.int32))[1]

    for method, row in zip(("reset", "step"), jax.eval_shape(rows, jax.random.key(0)), strict=True):
        for name, leaf in vars(row).items():
            shape, kind = expected.get(name, (e,)), kinds.get(name, "b")
            if leaf.shape != shape or np.dtype(leaf.dtype).kind != kind:
                wanted = {"f": "float", "b": "bool"}[kind]
                raise ContractError(
                    f"environment {spec.name!r} breaks its contract: {name} of {method} is "
                    f"{leaf.dtype} {list(leaf.shape)}, must be {wanted} {list(shape)}"
                )
