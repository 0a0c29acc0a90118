"""What the instruments need from one seed: arrays of the network on replayed windows."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.clock import Clock
from knife_jax.mixers.base import Goals
from knife_jax.nets.wiring import layer
from knife_jax.plasticity.meters import Running
from knife_jax.training import replay
from knife_jax.training.forward import agent_values, estimate, forward, joint_at
from knife_jax.training.losses import masked_mean
from knife_jax.training.state import TrainState
from knife_jax.training.trainer import Trainer, trajectories_added
from knife_jax.types import Patient, PyTree, Trajectory, batch_axes


class Measured(NamedTuple):
    """What a meter knows of a layer, in JAX or NumPy."""

    mean: Float[Any, "W"]
    age: Int[Any, "W"]
    """updates since the neuron was last operated on"""


class View(NamedTuple):
    """A look at one seed. Only arrays, of JAX or NumPy, so that vmap can stack seeds."""

    batch: Trajectory
    """the first windows, of which gradients are taken"""
    goals: Goals
    """what estimates are compared with there"""
    features: dict[str, Float[Any, "M W"]]
    """outputs of the ReLU layers and of the recurrent layers, a row per time, window and agent"""
    counted: dict[str, Bool[Any, "M"]]
    """the rows that have a transition"""
    meter: dict[str, Measured]
    """the running measurements that the plasticity method keeps"""
    used: dict[str, Int[Any, "W"]]
    """graft slots in use"""


def look(
    trainer: Trainer,
    windows: int,
    gradients: int,
    state: TrainState,
    clock: Clock,
    key: PRNGKeyArray,
) -> View:
    """The network on ``windows`` replayed windows; the first ``gradients`` are kept."""
    online, learner, slots = state.patient.online, trainer.learner, trainer.slots
    mine = replay.sample(
        state.replay,
        trainer.shards.own(key),
        math.ceil(windows / trainer.shards.n),
        trajectories_added(trainer, clock),
    )
    batch = first(trainer.shards.whole(mine, batch_axes(mine)), windows)
    agents, _, _, sown = forward(learner.networks, online, batch)
    goals = learner.targets(agents, state.patient.target, batch)
    outputs = {group.name: layer(sown, group)["activation"][0] for group in learner.wiring}
    for name in agents:
        outputs[f"{name}/memory"] = sown[name]["representation"][0]
    outputs = {name: h[: batch.valid.shape[0]] for name, h in outputs.items()}
    return View(
        batch=first(batch, gradients),
        goals=jax.tree.map(lambda leaf: leaf[:, :gradients], goals),
        features={name: h.reshape(-1, h.shape[-1]) for name, h in outputs.items()},
        counted={name: along(batch.valid, h.shape[:-1]).ravel() for name, h in outputs.items()},
        meter=stagnation(state.plasticity),
        used={g.name: layer(online["grafts"], g)["used"] for g in learner.wiring if slots},
    )


def stagnation(plasticity: PyTree) -> dict[str, Measured]:
    """The running update activity in a plasticity method's state, by neuron group.

    It is the last of the method's meters (``plasticity.combine.with_monitor``). The age of a neuron
    is counted from its last operation, which only the method's own meter may have seen.
    """
    is_meter = lambda leaf: isinstance(leaf, Running)  # noqa: E731
    meters: dict[str, Measured] = {}
    for leaf in filter(is_meter, jax.tree.leaves(plasticity, is_leaf=is_meter)):
        means, ages = leaf.mean.tree, leaf.age.tree
        for name, age in ages.items():
            age = jnp.minimum(age, meters[name].age) if name in meters else age
            meters[name] = Measured(means[name], age)
    return meters


def first(batch: Trajectory, n: int) -> Trajectory:
    """The first n windows."""
    return jax.tree.map(
        lambda leaf, axis: jax.lax.slice_in_dim(leaf, 0, n, axis=axis), batch, batch_axes(batch)
    )


def along(valid: Bool[Array, "T B"], shape: tuple[int, ...]) -> Bool[Array, "T B *X"]:
    """The transitions, repeated over further axes."""
    return jnp.broadcast_to(valid.reshape(*valid.shape, *(1,) * (len(shape) - 2)), shape)


def td_gradient(
    trainer: Trainer,
    patient: Patient,
    params: PyTree,
    batch: Trajectory,
    goals: Goals,
    windows: Bool[Array, "B"],
    heard: Float[Array, "N"],
) -> PyTree:
    """The gradient of the learner's loss at ``params``, on the chosen windows.

    It reaches the agents' values multiplied by ``heard``: a one-hot gives what one agent
    contributes to the gradient of the shared network. The loss itself does not change.
    """

    networks = trainer.learner.networks

    def some(leaf: Array) -> Array:
        if leaf.ndim < 4:  # the levels of samples, which are no agent's
            return leaf
        still = jax.lax.stop_gradient(leaf)
        return still + heard.reshape(-1, *(1,) * (leaf.ndim - 3)) * (leaf - still)

    def loss(params: PyTree) -> Float[Array, ""]:
        online = {**patient.online, "params": params}
        agents = jax.tree.map(some, agent_values(networks, online, batch)[0])
        taken = joint_at(networks, batch, agents, batch.action)
        estimates, _ = estimate(networks, online, taken)
        return masked_mean(trainer.learner.error(estimates, goals, taken), batch.valid & windows)

    return jax.grad(loss)(params)


def next_step(
    optimiser: optax.GradientTransformationExtraArgs, patient: Patient, grads: PyTree, clock: Clock
):
    """The step that the optimiser would take."""
    return optimiser.update(grads, patient.opt_state, patient.online["params"], clock=clock)[0]
