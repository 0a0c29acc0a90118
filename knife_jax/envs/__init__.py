"""Environments, and how to add one.

An environment is a pair of pure functions (``Env``); ``vectorise`` makes many of it, ``single``
makes a task of it. A section (``EnvConfig``) says which fields it has, and an entry of ``ENVS``
puts both under a name::

    @dataclass(frozen=True, kw_only=True)
    class CorridorConfig(EnvConfig):
        name: Annotated[str, choice("corridor"), "label"] = "corridor"
        length: Annotated[Count, "cells"] = 7

    def make(length: int) -> Tasks:
        return single(partial(vectorise, corridor(length)))

    ENVS["corridor"] = Entry(CorridorConfig, "my_module:make")
"""

from knife_jax.config.env import Case, Entry, EnvConfig, SequenceConfig
from knife_jax.config.environments import ENVS
from knife_jax.envs.base import Env, EnvSpec, TimeStep, VecEnv, first_step, vectorise
from knife_jax.envs.tasks import Tasks, shuffled, single

__all__ = [
    "ENVS",
    "Case",
    "Entry",
    "Env",
    "EnvConfig",
    "EnvSpec",
    "SequenceConfig",
    "Tasks",
    "TimeStep",
    "VecEnv",
    "first_step",
    "shuffled",
    "single",
    "vectorise",
]
