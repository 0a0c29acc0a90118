"""The value-factorisation learner: network, temporal-difference update, target network update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from knife_jax.clock import Clock, crossed, every_updates
from knife_jax.envs.base import EnvSpec, TimeStep
from knife_jax.mixers.base import Joint
from knife_jax.nets.target_network import update_target
from knife_jax.nets.wiring import Wiring
from knife_jax.parallel.shards import WHOLE, Shards
from knife_jax.plasticity.base import NeuronStats, Stat
from knife_jax.plasticity.stats import mean_activation, mean_sensitivity, neuron_stats
from knife_jax.training.exploration import greedy_actions
from knife_jax.training.forward import (
    Networks,
    Values,
    act,
    agent_values,
    forward,
    init_networks,
    q_tot,
)
from knife_jax.training.losses import masked_mean, td_loss
from knife_jax.training.targets import selector, td_lambda_targets
from knife_jax.types import Patient, PyTree, Trajectory, Variables

MEASURED_WINDOWS = 8
"""activations are averaged over this many windows of a batch: all of it would add several percent
to a gradient step"""

Metrics = dict[str, Float[Array, ""]]
"""``loss``, ``q_taken``, ``target`` and ``grad_norm`` of a batch"""


@runtime_checkable
class Act(Protocol):
    def __call__(
        self,
        variables: Variables,
        carry: Float[Array, "E N H"],
        now: TimeStep,
        last_action: Int[Array, "E N"],
    ) -> tuple[Float[Array, "E N H"], Float[Array, "E N A"]]:
        """Return the agents' next carry and their values of all actions at one time step."""
        ...


@runtime_checkable
class Targets(Protocol):
    def __call__(
        self, online_values: Float[Array, "T1 B N A"], target: Variables, batch: Trajectory
    ) -> Float[Array, "T B"]:
        """Return what Q_tot is regressed on, given the online network's values on the batch."""
        ...


@runtime_checkable
class Gradient(Protocol):
    def __call__(
        self, online: Variables, target: Variables, batch: Trajectory
    ) -> tuple[PyTree, NeuronStats, Metrics]:
        """Return the loss's gradient, shaped like ``params``, what it shows of every neuron, and
        numbers for the log; all of them over the batches of all shards."""
        ...


@runtime_checkable
class Step(Protocol):
    def __call__(self, patient: Patient, grads: PyTree, clock: Clock) -> Patient:
        """Return the patient after one optimiser step and, when it is due, a target update.

        ``clock`` is the Clock before the step.
        """
        ...


@dataclass(frozen=True)
class Learner:
    """A learner as pure functions, of variables that may hold ``open_slots`` (``nets.graft``)."""

    init: Callable[[PRNGKeyArray], Patient]
    initial_carry: Callable[[int], Float[Array, "E N H"]]
    """number of environments -> the agents' recurrent state as episodes begin"""
    act: Act
    gradient: Gradient
    step: Step
    values: Callable[[Variables, Trajectory], Values]
    targets: Targets
    networks: Networks
    optimiser: optax.GradientTransformationExtraArgs
    """its update takes the ``clock`` before the gradient step"""
    wiring: Wiring
    """the groups whose neurons are measured"""


def make_learner(
    spec: EnvSpec,
    networks: Networks,
    wiring: Wiring,
    optimiser: optax.GradientTransformation,
    *,
    gamma: float,
    td_lambda: float,
    double_q: bool,
    target_period: int,
    tau: float,
    needs: tuple[Stat, ...] = (),
    shards: Shards = WHOLE,
) -> Learner:
    """Make Q-learning on Q_tot with a target network (Rashid et al. 2018, eq. 6).

    Args:
      spec: sizes of the environment.
      networks: the agents' network and the mixer.
      wiring: the groups of neurons that are measured at every gradient step.
      optimiser: what turns gradients into steps.
      gamma: discount.
      td_lambda: λ of TD(λ).
      double_q: whether the online network selects the target's next action.
      target_period: gradient steps between updates of the target network.
      tau: how far such an update moves it; 1 copies.
      needs: what is measured of neurons beyond the activations and gradients.
      shards: over which the batch is split; each gives its own part to ``gradient``.
    """
    optimiser = optax.with_extra_args_support(optimiser)
    targets = partial(td_targets, networks, gamma=gamma, td_lambda=td_lambda, double_q=double_q)

    def init(key: PRNGKeyArray) -> Patient:
        online = init_networks(networks, spec, key)
        return Patient(online, jax.tree.map(jnp.copy, online), optimiser.init(online["params"]))

    return Learner(
        init=init,
        initial_carry=lambda n_envs: networks.agent.initial_carry(n_envs, spec.n_agents),
        act=partial(act, networks),
        gradient=partial(gradient, networks, targets, wiring, needs, shards),
        step=partial(step, optimiser, target_period, tau),
        values=lambda variables, batch: forward(networks, variables, batch)[0],
        targets=targets,
        networks=networks,
        optimiser=optimiser,
        wiring=wiring,
    )


def td_targets(
    networks: Networks,
    online_values: Float[Array, "T1 B N A"],
    target: Variables,
    batch: Trajectory,
    *,
    gamma: float,
    td_lambda: float,
    double_q: bool,
) -> Float[Array, "T B"]:
    """Return TD(λ) targets whose V is the target network's Q_tot of the greedy joint action."""
    target_values, _ = agent_values(networks, target, batch)
    selecting = selector(online_values, target_values, double_q=double_q)
    greedy = greedy_actions(selecting[1:], batch.avail_actions[1:])
    joint = Joint(target_values[1:], greedy, batch.state[1:], batch.avail_actions[1:])
    next_value, _ = q_tot(networks, target, joint)
    return td_lambda_targets(
        batch.reward, batch.terminated, batch.valid, next_value, gamma=gamma, lam=td_lambda
    )


def gradient(
    networks: Networks,
    targets: Targets,
    wiring: Wiring,
    needs: tuple[Stat, ...],
    shards: Shards,
    online: Variables,
    target: Variables,
    batch: Trajectory,
) -> tuple[PyTree, NeuronStats, Metrics]:
    """Differentiate the TD loss on a batch; see ``Gradient``."""
    measured = batch.valid[:, : max(1, MEASURED_WINDOWS // shards.n)]

    def loss(trained: PyTree):
        values, sown = forward(networks, {**online, **trained}, batch)
        still = jax.lax.stop_gradient(values.agents)
        goal = jax.lax.stop_gradient(targets(still, target, batch))
        value = td_loss(values.q_tot, goal, batch.valid)
        metrics = {
            "loss": value,
            "q_taken": masked_mean(values.q_tot, batch.valid),
            "target": masked_mean(goal, batch.valid),
        }
        return value, (mean_activation(wiring, sown, measured), metrics)

    params, felt = online["params"], {}
    trained = {"params": params}
    if "sensitivity" in needs:
        trained["perturbations"] = perturbations(networks, online, batch)
    grads, (activation, metrics) = jax.grad(loss, has_aux=True)(trained)
    if "sensitivity" in needs:
        means = mean_sensitivity(wiring, grads["perturbations"])
        felt = {name: mean / shards.n for name, mean in means.items()}
    (grads, felt, metrics), activation = shards.means(
        ((grads["params"], felt, metrics), jnp.sum(batch.valid)),
        (activation, jnp.sum(measured)),
    )
    metrics["grad_norm"] = optax.tree.norm(grads)
    return grads, neuron_stats(wiring, params, grads, activation, felt, needs), metrics


def perturbations(networks: Networks, online: Variables, batch: Trajectory) -> PyTree:
    """Return zeros to add to every pre-activation on this batch, for gradients in them."""
    shapes = jax.eval_shape(lambda: forward(networks, online, batch, "perturbations")[1])
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def step(
    optimiser: optax.GradientTransformationExtraArgs,
    target_period: int,
    tau: float,
    patient: Patient,
    grads: PyTree,
    clock: Clock,
) -> Patient:
    """Take an optimiser step and update the target network when it is due; see ``Step``."""
    params = patient.online["params"]
    updates, opt_state = optimiser.update(grads, patient.opt_state, params, clock=clock)
    online = {**patient.online, "params": optax.apply_updates(params, updates)}
    due = crossed(every_updates(target_period), clock, clock._replace(updates=clock.updates + 1))
    target = jax.lax.cond(
        due, lambda: update_target(online, patient.target, tau), lambda: patient.target
    )
    return Patient(online, target, opt_state)
