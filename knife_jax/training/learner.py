"""The value-factorisation learner: network, temporal-difference update, target network."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, PRNGKeyArray

from knife_jax.clock import Clock, crossed, every_updates
from knife_jax.envs.base import EnvSpec, TimeStep
from knife_jax.nets.graft import update_target
from knife_jax.nets.wiring import Wiring, layer
from knife_jax.parallel.shards import WHOLE, Shards
from knife_jax.plasticity.base import NeuronStats, Stat
from knife_jax.plasticity.stats import neuron_stats
from knife_jax.training.losses import chosen, masked_argmax, masked_mean, td_lambda_targets
from knife_jax.types import Patient, PyTree, Trajectory, Variables

PROBED_WINDOWS = 8
"""activations are averaged over this many windows of a batch: all of it would cost percents of a
gradient step"""


class Values(NamedTuple):
    """The online network's values on a batch."""

    agents: Float[Array, "T+1 B N A"]
    team: Float[Array, "T B"]
    """Q_tot of the actions taken"""


class Learner(NamedTuple):
    """A learner as pure functions."""

    init: Callable[[PRNGKeyArray], Patient]
    act: Callable[..., tuple[Float[Array, "E N H"], Float[Array, "E N A"]]]
    update: Callable[
        [Patient, Trajectory, Clock, Int[Array, ""]], tuple[Patient, NeuronStats, dict[str, Array]]
    ]
    values: Callable[[Variables, Trajectory, Int[Array, ""]], Values]
    targets: Callable[..., Float[Array, "T B"]]
    """(patient, batch, online agent values, open_slots) -> what Q_tot is regressed on"""
    unroll: Callable[..., tuple[Float[Array, "T+1 B N A"], PyTree]]
    """(variables, batch, open_slots) -> (the agents' values, what their layers sow)"""
    mix: Callable[..., tuple[Float[Array, "T B"], PyTree]]
    """(variables, values [T, B, N], state, open_slots) -> (Q_tot, what the mixer's layers sow)"""
    optimiser: optax.GradientTransformationExtraArgs
    """its update takes the ``clock`` before the gradient step"""
    wiring: Wiring


def init_networks(
    spec: EnvSpec, agent: nn.Module, mixer: nn.Module, hidden: int, key: PRNGKeyArray
) -> Variables:
    """Agents' network and mixer as they begin."""
    agent_key, mixer_key = jax.random.split(key)
    n, one = spec.n_agents, (1, 1)
    obs = jnp.zeros((*one, n, spec.obs_size))
    made = {
        "agent": agent.init(
            agent_key, jnp.zeros((1, n, hidden)), obs, jnp.zeros((*one, n), jnp.int32),
            jnp.zeros(one, bool), 0,
        ),
        "mixer": mixer.init(
            mixer_key, jnp.zeros((*one, n)), jnp.zeros((*one, spec.state_size)), 0
        ),
    }  # fmt: skip
    return {
        collection: {
            name: variables[collection]
            for name, variables in made.items()
            if collection in variables
        }
        for collection in ("params", "grafts")
    }


def make_learner(
    spec: EnvSpec,
    agent: nn.Module,
    mixer: nn.Module,
    wiring: Wiring,
    optimiser: optax.GradientTransformation,
    *,
    hidden: int,
    gamma: float,
    td_lambda: float,
    double_q: bool,
    target_period: int,
    tau: float,
    needs: tuple[Stat, ...] = (),
    shards: Shards = WHOLE,
) -> Learner:
    """Q-learning on Q_tot with a target network (Rashid et al. 2018, eq. 6; van Hasselt 2016).

    The statistics of the neurons of ``wiring`` are taken at every update, with those that
    ``needs`` names.
    The batch that an update learns from is that of all ``shards``, each of which gives its own.
    """

    probed = max(1, PROBED_WINDOWS // shards.n)
    optimiser = optax.with_extra_args_support(optimiser)

    def part(variables: Variables, name: str) -> Variables:
        return {collection: tree[name] for collection, tree in variables.items() if name in tree}

    def unroll(variables: Variables, batch: Trajectory, open_slots, seen="intermediates"):
        """The agents' values, and the collection ``seen`` that their layers leave."""
        last_action = jnp.concatenate([batch.last_action[None], batch.action])
        (_, values), left = agent.apply(
            part(variables, "agent"), batch.hidden, batch.obs, last_action, batch.first, open_slots,
            mutable=seen,
        )  # fmt: skip
        return values, left[seen]

    def mix(variables: Variables, values, state, open_slots, seen="intermediates"):
        total, left = mixer.apply(part(variables, "mixer"), values, state, open_slots, mutable=seen)
        return total, left[seen]

    def init(key: PRNGKeyArray) -> Patient:
        online = init_networks(spec, agent, mixer, hidden, key)
        return Patient(online, jax.tree.map(jnp.copy, online), optimiser.init(online["params"]))

    def act(variables, hidden, now: TimeStep, last_action, open_slots):
        hidden, values = agent.apply(
            part(variables, "agent"), hidden, now.obs[None], last_action[None], now.first[None],
            open_slots,
        )  # fmt: skip
        return hidden, values[0]

    def targets(patient: Patient, batch: Trajectory, online_values, open_slots):
        target_values, _ = unroll(patient.target, batch, open_slots)
        judge = online_values if double_q else target_values
        greedy = masked_argmax(judge[1:], batch.avail_actions[1:])
        best = chosen(target_values[1:], greedy)
        next_value, _ = mix(patient.target, best, batch.state[1:], open_slots)
        return td_lambda_targets(
            batch.reward, batch.terminated, batch.valid, next_value, gamma=gamma, lam=td_lambda
        )

    def perturbations(variables: Variables, batch: Trajectory, open_slots):
        """Zeros to add to every pre-activation of the online network on this batch."""

        def made():
            values, agents = unroll(variables, batch, open_slots, "perturbations")
            taken = chosen(values[:-1], batch.action)
            _, team = mix(variables, taken, batch.state[:-1], open_slots, "perturbations")
            return {"agent": agents, "mixer": team}

        shapes = jax.eval_shape(made)
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def loss(trained, patient: Patient, batch: Trajectory, open_slots):
        online = {**patient.online, **trained}
        values, agent_sown = unroll(online, batch, open_slots)
        taken = chosen(values[:-1], batch.action)
        team, mixer_sown = mix(online, taken, batch.state[:-1], open_slots)
        target = targets(patient, batch, jax.lax.stop_gradient(values), open_slots)
        target = jax.lax.stop_gradient(target)
        value = masked_mean(jnp.square(team - target), batch.valid)
        activation = activations({"agent": agent_sown, "mixer": mixer_sown}, batch)
        metrics = {
            "loss": value,
            "q_taken": masked_mean(team, batch.valid),
            "target": masked_mean(target, batch.valid),
        }
        return value, (activation, metrics)

    def activations(sown, batch: Trajectory):
        """Mean |h_i| of each neuron over the rows that have a transition, of a few windows."""
        valid = batch.valid[:, :probed]

        def mean(group):
            (h,) = layer(sown, group)["activation"]
            h = h[: valid.shape[0], :probed]
            weight = valid.reshape(*valid.shape, *(1,) * (h.ndim - 2))
            total = jnp.sum(jnp.abs(h) * weight, axis=tuple(range(h.ndim - 1)))
            return total / jnp.maximum(jnp.sum(weight) * (h[0, 0].size // group.width), 1)

        return {group.name: jax.lax.stop_gradient(mean(group)) for group in wiring}

    def sensitivity(felt):
        """Mean |∂L/∂z_i| of each neuron over all rows."""

        def mean(group):
            z = layer(felt, group)["pre_activation"]
            return jnp.mean(jnp.abs(z), axis=tuple(range(z.ndim - 1))) / shards.n

        return {group.name: mean(group) for group in wiring}

    def update(patient: Patient, batch: Trajectory, clock: Clock, open_slots):
        params = patient.online["params"]
        trained = {"params": params}
        if "sensitivity" in needs:
            trained["perturbations"] = perturbations(patient.online, batch, open_slots)
        grads, (activation, metrics) = jax.grad(loss, has_aux=True)(
            trained, patient, batch, open_slots
        )
        felt = sensitivity(grads["perturbations"]) if "sensitivity" in needs else {}
        (grads, felt, metrics), activation = shards.means(
            ((grads["params"], felt, metrics), jnp.sum(batch.valid)),
            (activation, jnp.sum(batch.valid[:, :probed])),
        )
        stats = neuron_stats(wiring, params, grads, activation, felt, needs)
        updates, opt_state = optimiser.update(grads, patient.opt_state, params, clock=clock)
        online = {**patient.online, "params": optax.apply_updates(params, updates)}
        due = crossed(
            every_updates(target_period), clock, clock._replace(updates=clock.updates + 1)
        )
        target = jax.lax.cond(
            due, lambda: update_target(online, patient.target, tau), lambda: patient.target
        )
        metrics["grad_norm"] = optax.tree.norm(grads)
        return Patient(online, target, opt_state), stats, metrics

    def values(variables: Variables, batch: Trajectory, open_slots) -> Values:
        agents, _ = unroll(variables, batch, open_slots)
        team, _ = mix(variables, chosen(agents[:-1], batch.action), batch.state[:-1], open_slots)
        return Values(agents, team)

    return Learner(init, act, update, values, targets, unroll, mix, optimiser, wiring)
