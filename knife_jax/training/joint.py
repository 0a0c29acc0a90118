"""Q_tot of every joint action, for games of a few agents and actions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from knife_jax.envs.base import VecEnv
from knife_jax.training.learner import Learner
from knife_jax.types import Trajectory, Variables


def joint_values(
    env: VecEnv, learner: Learner, variables: Variables, key: PRNGKeyArray
) -> Float[Array, "..."]:
    """Q_tot of all A^N joint actions in the first step of an episode: one axis for each agent."""
    n, n_actions = env.spec.n_agents, env.spec.n_actions
    actions = jnp.stack(jnp.meshgrid(*[jnp.arange(n_actions)] * n, indexing="ij"), axis=-1)
    actions = actions.reshape(-1, n)
    step = jax.tree.map(lambda leaf: leaf[0], env.reset(key)[1])
    b = len(actions)

    def twice(leaf: Array) -> Array:
        return jnp.broadcast_to(leaf, (2, b, *leaf.shape))

    batch = Trajectory(
        obs=twice(step.obs),
        state=twice(step.state),
        avail_actions=twice(step.avail_actions),
        first=twice(step.first),
        action=actions[None],
        reward=jnp.zeros((1, b)),
        terminated=jnp.zeros((1, b), bool),
        valid=jnp.ones((1, b), bool),
        carry=learner.initial_carry(b),
        last_action=jnp.full((b, n), -1, jnp.int32),
    )
    return learner.values(variables, batch).q_tot.reshape((n_actions,) * n)


MAX_TABLE_ENTRIES = 1024
"""joint actions worth a table"""


def is_small(env: VecEnv) -> bool:
    """Whether a table of all joint actions can be looked at."""
    return env.spec.n_agents == 2 and env.spec.n_actions**2 <= MAX_TABLE_ENTRIES
