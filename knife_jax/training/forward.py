"""The forward pass: the agents' values over a trajectory, and what the mixer makes of them.

Everything that needs either calls these functions: acting, the loss, its goals, diagnostics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.envs.base import EnvSpec, TimeStep
from knife_jax.mixers.base import (
    CRITICS,
    INPUTS,
    Estimates,
    Joint,
    Mixer,
    mean_of,
    take_action_values,
)
from knife_jax.nets.agent import RecurrentAgent
from knife_jax.nets.heads import ActionValues, DenseHead
from knife_jax.nets.wiring import Wiring
from knife_jax.types import PyTree, Trajectory, Variables

AgentValues = Mapping[str, ActionValues]
"""what ``agent`` and the critics say of all actions"""


class Networks(NamedTuple):
    """The modules whose variables a learner trains, under the names ``agent`` and ``mixer``.

    For each critic that the mixer needs there is one more, under its name: a network like the
    agents' own, with a memory of its own. All memories lie side by side in the agents' carry.
    """

    agent: RecurrentAgent
    mixer: Mixer
    mask_dead: bool = False
    """whether an agent without a choice counts as 0 in the mixer"""

    @property
    def agents(self) -> dict[str, RecurrentAgent]:
        """The agents' network and its critics, in the order of their memories."""
        critic = self.agent.clone(head_with=DenseHead)
        needed = [name for name in CRITICS if name in self.mixer.needs]
        return {"agent": self.agent, **dict.fromkeys(needed, critic)}

    def wiring(self) -> Wiring:
        """Return the neurons of all networks."""
        agents = (group for name, net in self.agents.items() for group in net.wiring(name))
        return (*agents, *self.mixer.wiring())

    def initial_carry(self, n_envs: int, n_agents: int) -> Float[Array, "E N H"]:
        """Return the agents' recurrent state as episodes begin."""
        return jnp.concatenate(
            [net.initial_carry(n_envs, n_agents) for net in self.agents.values()], axis=-1
        )


class Values(NamedTuple):
    """The values of one network on a batch."""

    agents: Float[Array, "T1 B N A"]
    """that actions are chosen by"""
    q_tot: Float[Array, "T B"]
    """of the actions taken"""


def init_networks(networks: Networks, spec: EnvSpec, key: PRNGKeyArray) -> Variables:
    """Draw the variables of all networks: the collections ``params`` and ``grafts``."""
    agent_key, mixer_key = jax.random.split(key)
    n, one = spec.n_agents, (1, 1)
    obs, no_action = jnp.zeros((*one, n, spec.obs_size)), jnp.zeros((*one, n), jnp.int32)
    made, values = {}, {}
    for i, (name, net) in enumerate(networks.agents.items()):
        own_key = jax.random.fold_in(agent_key, i) if i else agent_key
        given = net.initial_carry(1, n), obs, no_action, jnp.zeros(one, bool)
        made[name] = net.init(own_key, *given)
        values[name] = jax.eval_shape(net.apply, made[name], *given)[1]
    joint = Joint(
        jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), values), no_action,
        jnp.zeros((*one, spec.state_size)), jnp.ones((*one, n, spec.n_actions), bool),
    )  # fmt: skip
    made["mixer"] = networks.mixer.init(
        mixer_key, take_action_values(joint.values, joint.action),
        **mixer_inputs(networks.mixer, joint),
    )  # fmt: skip
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


def unroll(
    networks: Networks,
    variables: Variables,
    carry: Float[Array, "B N H"],
    obs: Float[Array, "T B N O"],
    last_action: Int[Array, "T B N"],
    first: Bool[Array, "T B"],
    sown: str = "intermediates",
    key: PRNGKeyArray | None = None,
    stream: str = "samples",
) -> tuple[Float[Array, "B N H"], AgentValues, PyTree]:
    """Run the agents' network and its critics over time.

    Returns the carry after the last step, the values of all actions, and the flax collection
    ``sown`` that the layers of each network leave. With a key, that of a flax ``stream``, heads
    that sample do so.
    """
    carries, values, left, at = [], {}, {}, 0
    for i, (name, net) in enumerate(networks.agents.items()):
        width = net.initial_carry().shape[-1]
        before, at = carry[..., at : at + width], at + width
        rngs = None if key is None else {stream: jax.random.fold_in(key, i)}
        (after, values[name]), seen = net.apply(
            of_network(variables, name), before, obs, last_action, first, mutable=sown, rngs=rngs
        )
        carries.append(after)
        left[name] = seen.get(sown, {})
    return jnp.concatenate(carries, axis=-1), values, left


def act(
    networks: Networks,
    variables: Variables,
    carry: Float[Array, "E N H"],
    now: TimeStep,
    last_action: Int[Array, "E N"],
    acting_key: PRNGKeyArray | None = None,
) -> tuple[Float[Array, "E N H"], Float[Array, "E N A"]]:
    """Return the agents' next carry and their values at one time step; see ``learner.Act``."""
    step: Any = now.obs[None], last_action[None], now.first[None]
    carry, values, _ = unroll(networks, variables, carry, *step, key=acting_key, stream="acting")
    return carry, values["agent"].values[0]


def agent_values(
    networks: Networks,
    variables: Variables,
    batch: Trajectory,
    sown: str = "intermediates",
    key: PRNGKeyArray | None = None,
) -> tuple[AgentValues, PyTree]:
    """Return the values of all actions at every step, the one after the last included.

    The second result is the flax collection ``sown`` that the layers of each network leave.
    """
    last_action = jnp.concatenate([batch.last_action[None], batch.action])
    given = batch.carry, batch.obs, last_action, batch.first
    return unroll(networks, variables, *given, sown, key)[1:]


def mixer_inputs(mixer: Mixer, joint: Joint) -> dict[str, Array]:
    """Return what a mixer declares that it needs besides the values of the actions."""
    return {name: INPUTS[name](joint) for name in mixer.needs}


def estimate(
    networks: Networks, variables: Variables, joint: Joint, sown: str = "intermediates"
) -> tuple[Estimates, PyTree]:
    """Return the mixer's estimates of joint actions, ``q_tot`` among them.

    The second result is the flax collection ``sown`` that the mixer's layers leave.
    """
    made, left = networks.mixer.apply(
        of_network(variables, "mixer"), take_action_values(joint.values, joint.action),
        mutable=sown, **mixer_inputs(networks.mixer, joint),
    )  # fmt: skip
    estimates = made if isinstance(made, Mapping) else {"q_tot": made}
    return estimates, left.get(sown, {})


def q_tot(networks: Networks, variables: Variables, joint: Joint) -> Float[Array, "T B"]:
    """Return Q_tot of joint actions."""
    return mean_of(estimate(networks, variables, joint)[0]["q_tot"])


def joint_at(
    networks: Networks,
    batch: Trajectory,
    agents: AgentValues,
    action: Int[Array, "T B N"],
    start: int = 0,
) -> Joint:
    """Return joint actions from step ``start`` on, given the agents' values at all steps."""
    steps = slice(start, start + len(action))
    here = jax.tree.map(lambda leaf: leaf[steps], agents)
    available = batch.avail_actions[steps]
    if networks.mask_dead:
        here = {name: without_dead(values, available) for name, values in here.items()}
    return Joint(here, action, batch.state[steps], available)


def without_dead(agents: ActionValues, avail_actions: Bool[Array, "T B N A"]) -> ActionValues:
    """Return the values and samples with 0 for each agent that has a single available action, as
    dead ones do."""
    alive = jnp.sum(avail_actions, axis=-1) > 1
    values, samples, levels = agents
    if samples is not None:
        samples = jnp.where(alive[..., None, None], samples, 0.0)
    return ActionValues(jnp.where(alive[..., None], values, 0.0), samples, levels)


def forward(
    networks: Networks,
    variables: Variables,
    batch: Trajectory,
    sown: str = "intermediates",
    key: PRNGKeyArray | None = None,
) -> tuple[AgentValues, Joint, Estimates, PyTree]:
    """Return the agents' values on a batch, the joint actions taken in it, and the estimates of
    their returns.

    The last result holds the flax collection ``sown`` of each network.
    """
    agents, of_agents = agent_values(networks, variables, batch, sown, key)
    taken = joint_at(networks, batch, agents, batch.action)
    estimates, of_mixer = estimate(networks, variables, taken, sown)
    return agents, taken, estimates, {**of_agents, "mixer": of_mixer}


def values_of(networks: Networks, variables: Variables, batch: Trajectory) -> Values:
    """Return the values that are logged and compared."""
    agents, _, estimates, _ = forward(networks, variables, batch)
    return Values(agents["agent"].values, mean_of(estimates["q_tot"]))
