"""The plasticity method of a config."""

from __future__ import annotations

from dataclasses import replace

from knife_jax.clock import Trigger, any_of, at_task_switch, every_env_steps, once
from knife_jax.config.plasticity import PlasticityConfig, Schedule
from knife_jax.config.schema import ConfigError
from knife_jax.nets.wiring import Wiring, relu_groups
from knife_jax.plasticity.base import PlasticityTransform
from knife_jax.plasticity.combine import with_monitor
from knife_jax.plasticity.meters import relative_update_activity
from knife_jax.plasticity.methods import METHODS


def make_plasticity(
    config: PlasticityConfig, wiring: Wiring, round_steps: int = 1
) -> PlasticityTransform:
    """Make the plasticity method of a config, with a monitor of stagnation for the log.

    Args:
      config: The section of the method, whose ``arguments`` are those of ``METHODS``'s factory.
      wiring: All layers of the networks; the section's ``scope`` selects among them.
      round_steps: Environment steps in a round of the Clock.

    Returns:
      The method, which has the scores of every hidden neuron for the log.

    Raises:
      ConfigError: The networks that ``scope`` selects have no neurons.
    """
    arguments, schedule = config.arguments(), config.schedule()
    if schedule is not None:
        arguments["when"] = trigger(schedule, round_steps)
    scope = getattr(config, "scope", "all")
    part = tuple(group for group in wiring if scope in ("all", group.network))
    if not part:
        others = " or ".join([*dict.fromkeys(group.network for group in wiring), "all"])
        raise ConfigError(
            f"plasticity.scope={scope} is refused: must be {others}, as this {scope} has no neurons"
        )
    method = METHODS[config.method](part, **arguments)
    if scope == "mixer" and method.claims.preserves == "nothing":
        # greedy actions are those of the agents' networks alone
        method = replace(method, claims=method.claims._replace(preserves="greedy"))
    if method.extras.scores and scope == "all":
        return method
    return with_monitor(
        method, relative_update_activity(relu_groups(wiring), config.stagnation().window)
    )


def trigger(schedule: Schedule, round_steps: int) -> Trigger:
    """Make the trigger of a schedule, for rounds of so many environment steps."""
    parts = []
    if schedule.interval:
        parts.append(every_env_steps(schedule.interval, round_steps))
    if schedule.at_task_switch:
        parts.append(at_task_switch)
    if schedule.once is not None:
        parts.append(once(schedule.once, round_steps))
    return any_of(*parts)
