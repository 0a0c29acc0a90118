"""SMAX as a task of training, in either implementation."""

from __future__ import annotations

from knife_jax.envs.base import VecEnv, vectorise
from knife_jax.envs.smax import batched_smax
from knife_jax.envs.smax.jaxmarl import bounded_state, smax
from knife_jax.envs.tasks import Tasks, single


def make(scenario: str, impl: str) -> Tasks:
    """Battles of a scenario; ``impl`` is ``batched`` or ``jaxmarl``."""

    def battles(n_envs: int) -> VecEnv:
        if impl == "batched":
            return bounded_state(batched_smax(scenario, n_envs))
        return bounded_state(vectorise(smax(scenario), n_envs))

    return single(battles)
