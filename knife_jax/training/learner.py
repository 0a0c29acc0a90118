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
from knife_jax.mixers.base import Error, mean_of, squared
from knife_jax.nets.target_network import update_target
from knife_jax.nets.wiring import Wiring
from knife_jax.parallel.shards import WHOLE, Shards
from knife_jax.plasticity.base import Importance, NeuronStats, Stat
from knife_jax.plasticity.stats import mean_activation, mean_sensitivity, neuron_stats
from knife_jax.training.forward import (
    Networks,
    Values,
    act,
    forward,
    init_networks,
    values_of,
)
from knife_jax.training.importance import of_windows
from knife_jax.training.losses import masked_mean
from knife_jax.training.targets import Returns
from knife_jax.training.td_loss import Targets, split, td_loss, td_targets
from knife_jax.types import Flat, Patient, PyTree, Trajectory, Variables

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
        key: PRNGKeyArray | None = None,
        /,
    ) -> tuple[Float[Array, "E N H"], Float[Array, "E N A"]]:
        """Return the agents' next carry and their values of all actions at one time step. With a
        key heads that sample in acting do so."""
        ...


@runtime_checkable
class Gradient(Protocol):
    def __call__(
        self,
        online: Variables,
        target: Variables,
        batch: Trajectory,
        key: PRNGKeyArray | None = None,
    ) -> tuple[PyTree, NeuronStats, Metrics]:
        """Return the loss's gradient, shaped like ``params``, what it shows of every neuron, and
        numbers for the log; all of them over the batches of all shards. With a key heads that
        sample do so."""
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
    importance: Callable[[Importance, Variables, Variables, Trajectory, PRNGKeyArray], PyTree]
    """(kind, online, target, batch, key) -> how much each weight matters, shaped like ``params``,
    over the batches of all shards"""
    step: Step
    values: Callable[[Variables, Trajectory], Values]
    targets: Targets
    error: Error
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
    reward_scale: float = 1.0,
    returns: Returns,
    double_q: bool,
    target_period: int,
    tau: float,
    error: Error = squared,
    bootstrap: str | None = None,
    needs: tuple[Stat, ...] = (),
    shards: Shards = WHOLE,
) -> Learner:
    """Make Q-learning on Q_tot with a target network (Rashid et al. 2018, eq. 6), or without one if
    it would be copied at every gradient step (Gallici et al. 2025).

    Args:
      spec: sizes of the environment.
      networks: the agents' network and the mixer.
      wiring: the groups of neurons that are measured at every gradient step.
      optimiser: what turns gradients into steps.
      gamma: discount.
      reward_scale: what rewards are multiplied by.
      returns: how goals are computed of rewards and next values.
      double_q: whether the online network selects the target's next action.
      target_period: gradient steps between updates of the target network.
      tau: how far such an update moves it; 1 copies.
      error: compares estimates with goals; see ``mixers.Factorisation``, also for ``bootstrap``.
      bootstrap: the estimate whose target value all goals are made of, if not each of its own.
      needs: what is measured of neurons beyond the activations and gradients.
      shards: over which the batch is split; each gives its own part to ``gradient``.
    """
    optimiser = optax.with_extra_args_support(optimiser)
    has_target = target_period > 1 or tau < 1
    targets = partial(
        td_targets, networks, bootstrap, returns, gamma=gamma, reward_scale=reward_scale,
        double_q=double_q, has_target=has_target,
    )  # fmt: skip

    def init(key: PRNGKeyArray) -> Patient:
        online = init_networks(networks, spec, key)
        return Patient(online, jax.tree.map(jnp.copy, online), optimiser.init(online["params"]))

    return Learner(
        init=init,
        initial_carry=lambda n_envs: networks.initial_carry(n_envs, spec.n_agents),
        act=partial(act, networks),
        gradient=partial(gradient, networks, targets, has_target, error, wiring, needs, shards),
        importance=partial(of_windows, networks, targets, has_target, error, shards),
        step=partial(step, optimiser, target_period, tau),
        values=partial(values_of, networks),
        targets=targets,
        error=error,
        networks=networks,
        optimiser=optimiser,
        wiring=wiring,
    )


def gradient(
    networks: Networks,
    targets: Targets,
    has_target: bool,
    error: Error,
    wiring: Wiring,
    needs: tuple[Stat, ...],
    shards: Shards,
    online: Variables,
    target: Variables,
    batch: Trajectory,
    key: PRNGKeyArray | None = None,
) -> tuple[PyTree, NeuronStats, Metrics]:
    """Differentiate the loss on a batch; see ``Gradient``."""
    measured = batch.valid[:, : max(1, MEASURED_WINDOWS // shards.n)]
    own_key, target_key = split(key)

    def loss(trained: PyTree):
        value, (sown, estimates, goals) = td_loss(
            networks, targets, error, {**online, **trained}, target if has_target else online,
            batch, own_key, target_key,
        )  # fmt: skip
        metrics = {
            "loss": value,
            "q_taken": masked_mean(mean_of(estimates["q_tot"]), batch.valid),
            "target": masked_mean(mean_of(goals.returns["q_tot"]), batch.valid),
        }
        return value, (mean_activation(wiring, sown, measured), metrics)

    params, felt = online["params"], {}
    trained = {"params": params}
    if "sensitivity" in needs:
        trained["perturbations"] = perturbations(networks, online, batch, own_key)
    grads, (activation, metrics) = jax.grad(loss, has_aux=True)(trained)
    if "sensitivity" in needs:
        means = mean_sensitivity(wiring, grads["perturbations"])
        felt = {name: mean / shards.n for name, mean in means.items()}
    (grads, felt, metrics), activation = shards.means(
        ((grads["params"], felt, metrics), jnp.sum(batch.valid)),
        (activation, jnp.sum(measured)),
    )
    metrics["grad_norm"] = optax.tree.norm(Flat.of(grads))
    return grads, neuron_stats(wiring, params, grads, activation, felt, needs), metrics


def perturbations(
    networks: Networks, online: Variables, batch: Trajectory, key: PRNGKeyArray | None
) -> PyTree:
    """Return zeros to add to every pre-activation on this batch, for gradients in them."""
    shapes = jax.eval_shape(lambda: forward(networks, online, batch, "perturbations", key)[-1])
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
