"""The forward pass: the agents' values over a trajectory, and Q_tot, which the mixer makes of them.

Everything that needs either calls these functions: acting, the loss, its targets, diagnostics.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from knife_jax.envs.base import EnvSpec, TimeStep
from knife_jax.mixers.base import INPUTS, Joint, Mixer
from knife_jax.nets.agent import RecurrentAgent
from knife_jax.training.targets import take_action_values
from knife_jax.types import PyTree, Trajectory, Variables


class Networks(NamedTuple):
    """The modules whose variables a learner trains, under the names ``agent`` and ``mixer``."""

    agent: RecurrentAgent
    mixer: Mixer


class Values(NamedTuple):
    """The values of one network on a batch."""

    agents: Float[Array, "T1 B N A"]
    q_tot: Float[Array, "T B"]
    """of the actions taken"""


def init_networks(networks: Networks, spec: EnvSpec, key: PRNGKeyArray) -> Variables:
    """Draw the variables of both networks: the collections ``params`` and ``grafts``."""
    agent_key, mixer_key = jax.random.split(key)
    n, one = spec.n_agents, (1, 1)
    obs = jnp.zeros((*one, n, spec.obs_size))
    joint = Joint(
        jnp.zeros((*one, n, spec.n_actions)), jnp.zeros((*one, n), jnp.int32),
        jnp.zeros((*one, spec.state_size)), jnp.ones((*one, n, spec.n_actions), bool),
    )  # fmt: skip
    made = {
        "agent": networks.agent.init(
            agent_key, networks.agent.initial_carry(1, n), obs, jnp.zeros((*one, n), jnp.int32),
            jnp.zeros(one, bool),
        ),
        "mixer": networks.mixer.init(
            mixer_key, take_action_values(joint.values, joint.action),
            **mixer_inputs(networks.mixer, joint),
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


def of_network(variables: Variables, name: str) -> Variables:
    """Return the collections of one network alone."""
    return {collection: tree[name] for collection, tree in variables.items() if name in tree}


def act(
    networks: Networks,
    variables: Variables,
    carry: Float[Array, "E N H"],
    now: TimeStep,
    last_action: Int[Array, "E N"],
) -> tuple[Float[Array, "E N H"], Float[Array, "E N A"]]:
    """Return the agents' next carry and their values at one time step."""
    out: Any = networks.agent.apply(
        of_network(variables, "agent"), carry, now.obs[None], last_action[None], now.first[None]
    )
    return out[0], out[1][0]


def agent_values(
    networks: Networks, variables: Variables, batch: Trajectory, sown: str = "intermediates"
) -> tuple[Float[Array, "T1 B N A"], PyTree]:
    """Return the agents' values of all actions at every step, the one after the last included.

    The second result is the flax collection ``sown`` that the agents' layers leave.
    """
    last_action = jnp.concatenate([batch.last_action[None], batch.action])
    (_, values), left = networks.agent.apply(
        of_network(variables, "agent"), batch.carry, batch.obs, last_action, batch.first,
        mutable=sown,
    )  # fmt: skip
    return values, left.get(sown, {})


def mixer_inputs(mixer: Mixer, joint: Joint) -> dict[str, Array]:
    """Return what a mixer declares that it needs besides the values of the actions."""
    return {name: INPUTS[name](joint) for name in mixer.needs}


def q_tot(
    networks: Networks, variables: Variables, joint: Joint, sown: str = "intermediates"
) -> tuple[Float[Array, "T B"], PyTree]:
    """Return Q_tot of joint actions.

    The second result is the flax collection ``sown`` that the mixer's layers leave.
    """
    mixed, left = networks.mixer.apply(
        of_network(variables, "mixer"), take_action_values(joint.values, joint.action),
        mutable=sown, **mixer_inputs(networks.mixer, joint),
    )  # fmt: skip
    return mixed, left.get(sown, {})


def taken(batch: Trajectory, values: Float[Array, "T1 B N A"]) -> Joint:
    """Return the joint actions taken in a batch, given the agents' values at all of its steps."""
    return Joint(values[:-1], batch.action, batch.state[:-1], batch.avail_actions[:-1])


def forward(
    networks: Networks, variables: Variables, batch: Trajectory, sown: str = "intermediates"
) -> tuple[Values, PyTree]:
    """Return the agents' values on a batch and Q_tot of the actions taken in it.

    The second result holds the flax collection ``sown`` of each network.
    """
    agents, of_agent = agent_values(networks, variables, batch, sown)
    mixed, of_mixer = q_tot(networks, variables, taken(batch, agents), sown)
    return Values(agents, mixed), {"agent": of_agent, "mixer": of_mixer}
