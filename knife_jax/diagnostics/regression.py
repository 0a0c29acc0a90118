"""How well the networks can still learn: Lyle et al. (2023), section 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from knife_jax.clock import Clock
from knife_jax.diagnostics.collect import View, along
from knife_jax.mixers.base import Joint
from knife_jax.training.forward import agent_values, q_tot
from knife_jax.training.losses import masked_mean
from knife_jax.training.trainer import Trainer
from knife_jax.types import Patient, PyTree, Trajectory

FREQUENCY = 1e5
"""makes the targets of neighbouring inputs unrelated"""
ROWS = 64
"""about as many replayed rows are learnt on, of all agents"""


class Fit(NamedTuple):
    """The end of a regression, as means over the functions."""

    variance: Float[Array, ""]
    """of the targets: the loss of the best constant"""
    loss: Float[Array, ""]
    """mean squared error"""


def random_parameters(params: PyTree, functions: int, rng: np.random.Generator) -> PyTree:
    """Parameters of F random networks, ``[S, ...] -> [F, ...]``, drawn on the host.

    Normal with variance 1/fan-in, biases 0.1 times normal: the initialisers proper would be a
    second compilation of some seconds, and an orthogonal one a batched QR.
    """

    def draw(leaf: Float[np.ndarray, "S *X W"]) -> Float[np.ndarray, "F *X W"]:
        shape = leaf.shape[1:]
        scale = 1 / np.sqrt(shape[0]) if len(shape) > 1 else 0.1
        return rng.normal(scale=scale, size=(functions, *shape)).astype(leaf.dtype)

    return jax.tree.map(draw, params)


def fit_random_functions(
    outputs: Callable[[PyTree], Float[Array, "*X"]],
    params: PyTree,
    random: PyTree,
    optimiser: optax.GradientTransformation,
    counted: Bool[Array, "*X"],
    steps: int,
) -> Fit:
    """Regress copies of a network onto random functions with its own optimiser.

    Function j is g_j = a + sin(1e5 f(x; ω_j)), where ω_j is the j-th of the ``random``
    parameters ``[F, ...]`` and a the mean output of the network at hand. The optimiser starts
    anew, so that what is measured is the network: neither old moments nor a learning rate that
    has decayed. The plasticity of Lyle et al. is ``variance - loss``.
    """
    every = jax.tree.map(lambda one, many: jnp.concatenate([one[None], many]), params, random)
    now, *functions = jax.vmap(outputs)(every)
    targets = masked_mean(now, counted) + jnp.sin(FREQUENCY * jnp.stack(functions))

    def error(params: PyTree, target: Float[Array, "*X"]) -> Float[Array, ""]:
        return masked_mean(jnp.square(outputs(params) - target), counted)

    def fit(target: Float[Array, "*X"]):
        def step(carry, _):
            params, opt_state = carry
            loss, grads = jax.value_and_grad(error)(params, target)
            updates, opt_state = optimiser.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        # one step more, to see the loss after the last one that counts
        begin = (params, optimiser.init(params))
        losses = jax.lax.scan(step, begin, length=steps + 1)[1]
        constant = masked_mean(target, counted)
        return masked_mean(jnp.square(target - constant), counted), losses[-1]

    variance, loss = jax.vmap(fit)(targets)
    return Fit(jnp.mean(variance), jnp.mean(loss))


def fit(
    trainer: Trainer, steps: int, random: PyTree, patient: Patient, view: View
) -> dict[str, Fit]:
    """What a copy of the agent network, and one of the mixer, can learn on replayed rows.

    A row is one step of the network: the agents' recurrent states and, for the mixer, the agents'
    values stay what they are now. A mixer without parameters is left out.
    """
    learner, online = trainer.learner, patient.online
    # with the learning rate that training begins with
    optimiser = optax.GradientTransformation(
        learner.optimiser.init, partial(learner.optimiser.update, clock=Clock.zero())
    )
    rows, action, counted = some_rows(view, [*learner.networks.agents])

    def with_params(name: str, params: PyTree):
        return {**online, "params": {**online["params"], name: params}}

    def agents(params: PyTree) -> Float[Array, "1 R N A"]:
        found, _ = agent_values(learner.networks, with_params("agent", params), rows)
        return found["agent"].values

    joint = Joint(
        agent_values(learner.networks, online, rows)[0], action, rows.state, rows.avail_actions
    )

    def mixed(params: PyTree) -> Float[Array, "1 R"]:
        variables = with_params("mixer", params)
        return q_tot(learner.networks, variables, joint)

    def fitted(name: str, outputs) -> Fit:
        params = online["params"][name]
        mask = along(counted, jax.eval_shape(outputs, params).shape)
        return fit_random_functions(outputs, params, random[name], optimiser, mask, steps)

    networks = {"agent": agents, "mixer": mixed}
    return {name: fitted(name, f) for name, f in networks.items() if name in online["params"]}


def some_rows(view: View, networks: Sequence[str]):
    """Rows of the replayed windows as R windows of one row, their actions and what counts; the
    memories of ``networks`` make up the carry."""
    batch = view.batch
    times, n_windows, n_agents = batch.action.shape
    memories = [view.features[f"{name}/memory"] for name in networks]
    after = jnp.concatenate(memories, axis=-1).reshape(times, -1, n_agents, batch.carry.shape[-1])
    carry = jnp.concatenate([batch.carry[None], after[:-1, :n_windows]])
    last_action = jnp.concatenate([batch.last_action[None], batch.action[:-1]])
    every = max(1, times * n_windows // ROWS)

    def thinned(leaf: Array) -> Array:
        return leaf[:times].reshape(-1, *leaf.shape[2:])[::every]

    rows = Trajectory(
        obs=thinned(batch.obs)[None],
        state=thinned(batch.state)[None],
        avail_actions=thinned(batch.avail_actions)[None],
        first=thinned(batch.first)[None],
        action=jnp.zeros((0, *thinned(batch.action).shape), batch.action.dtype),
        reward=jnp.zeros((0, 0)),
        terminated=jnp.zeros((0, 0), bool),
        valid=jnp.zeros((0, 0), bool),
        carry=thinned(carry),
        last_action=thinned(last_action),
    )
    return rows, thinned(batch.action)[None], thinned(batch.valid)[None]
