"""Greedy evaluation: of all seeds at once, or seed by seed where games run outside of jax.

Recordings are of one seed, whose episodes are those that it plays in an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key, PRNGKeyArray

from knife_jax.config.run import Config
from knife_jax.envs.tasks import Tasks
from knife_jax.parallel.devices import over_seeds
from knife_jax.parallel.shards import SEEDS
from knife_jax.training.evaluator import Episodes, evaluate
from knife_jax.training.learner import Learner
from knife_jax.training.recorder import Recorded, record
from knife_jax.types import PyTree, Variables

Evaluation = Callable[[Variables, Key[Array, "S"], Int[Array, ""], PyTree], Episodes]
"""(the networks of S seeds, a key for each, a task, the seeds' own tasks if they have any) ->
``evaluation.episodes`` of each"""
Recorder = Callable[[Variables, PRNGKeyArray, Int[Array, ""], PyTree, int], Recorded]
"""(the networks of a seed, its key, a task, its own tasks if it has any, how many) -> the first
episodes of an evaluation"""


def make_evaluation(tasks: Tasks, config: Config, learner: Learner, mesh: Mesh) -> Evaluation:
    """Play greedily: ``evaluation.episodes`` environments at once, or rounds of a few games."""
    n, games, rounds_of = config.evaluation.episodes, tasks.games, tasks.evaluation
    if games is None or rounds_of is None:

        def at_once(
            variables: Variables, keys: Key[Array, "S"], task: Int[Array, ""], own: PyTree
        ) -> Episodes:
            def one(variables: Variables, key: PRNGKeyArray, own: PyTree) -> Episodes:
                return evaluate(tasks.env(task, n, own), learner, variables, key)

            return over_seeds(one, mesh, (SEEDS, SEEDS, SEEDS), SEEDS)(variables, keys, own)

        return jax.jit(at_once)

    width = min(n, config.games.evaluation)

    @jax.jit
    def in_rounds(variables: Variables, key: PRNGKeyArray, task: Int[Array, ""]) -> Episodes:
        def one_round(first: Int[Array, ""]) -> Episodes:
            return evaluate(rounds_of(task, width, first), learner, variables, key)

        played = jax.lax.map(one_round, jnp.arange(0, n, width))
        return jax.tree.map(lambda leaf: leaf.reshape(-1)[:n], played)

    def seed_by_seed(
        variables: Variables, keys: Key[Array, "S"], task: Int[Array, ""], own: PyTree
    ) -> Episodes:
        del own  # games have the tasks of all seeds
        whole = jax.device_get(variables)
        played = [
            jax.device_get(in_rounds(jax.tree.map(lambda leaf: leaf[s], whole), key, task))  # noqa: B023
            for s, key in enumerate(keys)
        ]
        games.check()
        return jax.tree.map(lambda *leaves: np.stack(leaves), *played)

    return seed_by_seed


def make_recorder(tasks: Tasks, config: Config, learner: Learner) -> Recorder:
    """Play an evaluation of one seed and keep its first episodes; of games, those of a round."""
    n, games, rounds_of = config.evaluation.episodes, tasks.games, tasks.evaluation

    @partial(jax.jit, static_argnums=4)
    def recorded(
        variables: Variables, key: PRNGKeyArray, task: Int[Array, ""], own: PyTree, kept: int
    ) -> Recorded:
        if games is None or rounds_of is None:
            env = tasks.env(task, n, own)
        else:
            env = rounds_of(task, min(n, config.games.evaluation), jnp.int32(0))
        return record(env, learner, variables, key, min(kept, env.n_envs))

    return recorded
