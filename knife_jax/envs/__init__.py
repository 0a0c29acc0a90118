"""Environments, and how to add one.

An environment is its sizes and a pair of pure functions (``Env``). One from outside the package
is a function that returns one: ``env=custom env.target=my_module:make env.args.length=7``::

    def make(length: int = 7) -> Env:
        return Env(EnvSpec("corridor", ...), reset, step)

``vectorise`` makes many of it, and ``single`` a task of these. One of the package has a section
(``EnvConfig``) that says which fields it has, and an entry of ``ENVS`` that puts both under a name.
"""

from knife_jax.config.env import Case, Entry, EnvConfig, SequenceConfig
from knife_jax.config.environments import ENVS
from knife_jax.envs.base import Env, EnvSpec, TimeStep, VecEnv, first_step, vectorise
from knife_jax.envs.tasks import Tasks, shuffled, single
from knife_jax.envs.view import Arena, Body, Kind, Payoffs, View

__all__ = [
    "ENVS",
    "Arena",
    "Body",
    "Case",
    "Entry",
    "Env",
    "EnvConfig",
    "EnvSpec",
    "Kind",
    "Payoffs",
    "SequenceConfig",
    "Tasks",
    "TimeStep",
    "VecEnv",
    "View",
    "first_step",
    "shuffled",
    "single",
    "vectorise",
]
