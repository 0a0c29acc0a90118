"""The plasticity method of a config."""

from __future__ import annotations

from dataclasses import replace

from knife_jax.clock import (
    after_task_switch,
    any_of,
    at_task_switch,
    every_env_steps,
    rounds_of,
)
from knife_jax.config.plasticity import (
    InjectionConfig,
    KnifeConfig,
    NoneConfig,
    PlasticityConfig,
    ScheduledConfig,
)
from knife_jax.config.schema import fields_of
from knife_jax.nets.wiring import Wiring, relu_groups
from knife_jax.plasticity import methods
from knife_jax.plasticity.base import PlasticityTransform
from knife_jax.plasticity.combine import with_monitor
from knife_jax.plasticity.meters import relative_update_activity


def make_plasticity(
    config: PlasticityConfig, wiring: Wiring, round_steps: int = 1
) -> PlasticityTransform:
    """The plasticity method of a config, for the layers that the wiring names."""
    fields = {name: getattr(config, name) for name in fields_of(type(config))}
    for label in ("name", "method"):
        del fields[label]
    if isinstance(config, NoneConfig):
        return with_monitor(
            methods.none(wiring), relative_update_activity(relu_groups(wiring), config.window)
        )
    if isinstance(config, ScheduledConfig):
        interval, task_switch = fields.pop("interval"), fields.pop("at_task_switch")
        late = isinstance(config, KnifeConfig) and config.measure == "post_switch"
        switched = after_task_switch(config.window) if late else at_task_switch
        fields["when"] = any_of(
            *([every_env_steps(interval, round_steps)] if interval else ()),
            *[switched] * task_switch,
        )
    if isinstance(config, InjectionConfig):
        fields["at"] = rounds_of(config.at, round_steps)
    scope = fields.pop("scope", "all")
    part = tuple(group for group in wiring if scope in ("all", group.network))
    method = methods.METHODS[config.method](part, **fields)
    if scope == "mixer" and method.claims.preserves == "nothing":
        # greedy actions are those of the agents' networks alone
        method = replace(method, claims=method.claims._replace(preserves="greedy"))
    if isinstance(config, KnifeConfig) and scope == "all":
        return method
    return with_monitor(method, relative_update_activity(relu_groups(wiring), NoneConfig().window))


def stagnation(config: PlasticityConfig) -> NoneConfig | KnifeConfig:
    """The section that says how stagnation is measured."""
    return config if isinstance(config, NoneConfig | KnifeConfig) else NoneConfig()
