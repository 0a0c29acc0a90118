"""How much each weight of the networks matters on a batch, window by window."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from knife_jax.mixers.base import Error
from knife_jax.parallel.shards import Shards
from knife_jax.plasticity.base import Importance
from knife_jax.plasticity.importance import weight_importance
from knife_jax.training.forward import Networks, values_of
from knife_jax.training.losses import masked_mean
from knife_jax.training.td_loss import Targets, split, td_loss
from knife_jax.types import PyTree, Trajectory, Variables, batch_axes


def of_windows(
    networks: Networks,
    targets: Targets,
    has_target: bool,
    error: Error,
    shards: Shards,
    kind: Importance,
    online: Variables,
    target: Variables,
    batch: Trajectory,
    key: PRNGKeyArray,
) -> PyTree:
    """Measure the importance of every weight, means over the windows of all shards' batches."""
    axes = batch_axes(batch)

    def measured(params: PyTree, window: Trajectory, key: PRNGKeyArray) -> Float[Array, ""]:
        variables = {**online, "params": params}
        if kind == "output_slopes":
            return squared_outputs(networks, variables, window)
        goals_of = target if has_target else online
        return td_loss(networks, targets, error, variables, goals_of, window, *split(key))[0]

    def gradient(part: tuple[Trajectory, PRNGKeyArray]) -> PyTree:
        window = jax.tree.map(jnp.expand_dims, part[0], axes)
        return jax.grad(measured)(online["params"], window, part[1])

    windows = jax.tree.map(partial(jnp.moveaxis, destination=0), batch, axes)
    n = batch.last_action.shape[0]
    mean = weight_importance(kind, gradient, (windows, jax.random.split(key, n)))
    return shards.means((mean, jnp.asarray(n)))[0]


def squared_outputs(
    networks: Networks, variables: Variables, batch: Trajectory
) -> Float[Array, ""]:
    """Return the mean over transitions of the squared norm of what the networks put out: the
    agents' values of all actions, and Q_tot of those taken."""
    values = values_of(networks, variables, batch)
    squares = jnp.sum(jnp.square(values.agents[:-1]), axis=(-2, -1)) + jnp.square(values.q_tot)
    return masked_mean(squares, batch.valid)
