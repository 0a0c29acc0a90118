"""The temporal-difference loss of a batch, and the goals that it is made of."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from knife_jax.mixers.base import Error, Estimates, Goals
from knife_jax.training.exploration import greedy_actions
from knife_jax.training.forward import (
    AgentValues,
    Networks,
    agent_values,
    estimate,
    forward,
    joint_at,
)
from knife_jax.training.losses import masked_mean
from knife_jax.training.targets import Returns, Transitions, selector
from knife_jax.types import PyTree, Trajectory, Variables


@runtime_checkable
class Targets(Protocol):
    def __call__(
        self,
        online: AgentValues,
        target: Variables,
        batch: Trajectory,
        key: PRNGKeyArray | None = None,
    ) -> Goals:
        """Return what estimates are compared with, given the online networks' values on the batch.
        With a key heads that sample do so."""
        ...


def split(key: PRNGKeyArray | None) -> tuple[Any, Any]:
    """Keys of what the online and the target networks draw, if they draw."""
    return (None, None) if key is None else tuple(jax.random.split(key))


def td_loss(
    networks: Networks,
    targets: Targets,
    error: Error,
    online: Variables,
    target: Variables,
    batch: Trajectory,
    own_key: PRNGKeyArray | None = None,
    target_key: PRNGKeyArray | None = None,
) -> tuple[Float[Array, ""], tuple[PyTree, Estimates, Goals]]:
    """Return the mean error over the transitions of a batch, what the layers leave, the estimates
    and what they are compared with. If there is no target network, ``target`` must be the online
    network's variables."""
    agents, taken, estimates, sown = forward(networks, online, batch, key=own_key)
    still = jax.lax.stop_gradient(agents)
    goals = jax.lax.stop_gradient(targets(still, target, batch, target_key))
    value = masked_mean(error(estimates, goals, taken), batch.valid)
    return value, (sown, estimates, goals)


def td_targets(
    networks: Networks,
    bootstrap: str | None,
    returns: Returns,
    online: AgentValues,
    target: Variables,
    batch: Trajectory,
    key: PRNGKeyArray | None = None,
    *,
    gamma: float,
    reward_scale: float,
    double_q: bool,
    has_target: bool,
) -> Goals:
    """Return goals whose V is the target network's estimate of the greedy joint action; see
    ``Targets``. If there is none, ``target`` must be the online network's variables."""
    agents = agent_values(networks, target, batch, key=key)[0] if has_target else online
    selecting = selector(online["agent"].values, agents["agent"].values, double_q=double_q)

    def of_actions(action: Int[Array, "T B N"], start: int = 0) -> Estimates:
        return estimate(networks, target, joint_at(networks, batch, agents, action, start))[0]

    def of_greedy(start: int, stop: int | None) -> Estimates:
        action = greedy_actions(selecting[start:stop], batch.avail_actions[start:stop])
        return of_actions(action, start)

    ahead, reward = of_greedy(1, None), reward_scale * batch.reward

    def goal(name: str) -> Array:
        rows = Transitions(reward, batch.terminated, batch.valid, ahead[name])
        return returns(rows, lambda: of_actions(batch.action)[name], gamma=gamma)

    return Goals({name: goal(bootstrap or name) for name in ahead}, of_greedy(0, -1), reward)
