"""Methods that recycle or remove the neurons on one side of a threshold.

All take the wiring, a trigger ``when``, a ``threshold`` as a fraction of the layer's mean and a
``window``, the updates over which is averaged. They raise ValueError for arguments out of their
limits and for groups without ``outgoing`` layers, whose weights are rewritten, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from knife_jax.checks import checked
from knife_jax.clock import Trigger
from knife_jax.config.recycling import PruningConfig, ReDoConfig, ReGraMaConfig, ReverseReDoConfig
from knife_jax.config.schema import Count, Positive
from knife_jax.nets.wiring import Wiring, relu_groups
from knife_jax.plasticity.base import Extras, Meter, PlasticityTransform, Rewrite, Select
from knife_jax.plasticity.combine import surgery
from knife_jax.plasticity.meters import relative_activation, relative_sensitivity
from knife_jax.plasticity.rewrite import prune, recycle
from knife_jax.plasticity.select import at_least, at_most


def _rewritten(
    wiring: Wiring,
    meter: Callable[[Wiring, int], Meter],
    window: int,
    select: Select,
    rewrite: Callable[[Wiring], Rewrite],
    when: Trigger,
) -> PlasticityTransform:
    groups = relu_groups(wiring)
    return surgery(groups, meter(groups, window), select, rewrite(groups), when)


@checked
def redo(
    wiring: Wiring,
    *,
    when: Trigger,
    threshold: Positive = ReDoConfig.threshold,
    window: Count = ReDoConfig.window,
) -> PlasticityTransform:
    """Recycle dormant neurons: ReDo (Sokar et al. 2023), activation of at most ``threshold``.

    Example:
      >>> from knife_jax import plasticity as p
      >>> wiring = (p.NeuronGroup("hidden", 64, p.torch_init().columns, outgoing=("out",)),)
      >>> p.redo(wiring, when=p.every_updates(1000), threshold=0.025).claims.moments
      'seeded'
    """
    return _rewritten(wiring, relative_activation, window, at_most(threshold), recycle, when)


@checked
def reverse_redo(
    wiring: Wiring,
    *,
    when: Trigger,
    threshold: Positive = ReverseReDoConfig.threshold,
    window: Count = ReverseReDoConfig.window,
) -> PlasticityTransform:
    """Recycle over-active neurons, activation of at least ``threshold``: a control of ReBorn's
    paper (Qin et al. 2024)."""
    return _rewritten(wiring, relative_activation, window, at_least(threshold), recycle, when)


@checked
def regrama(
    wiring: Wiring,
    *,
    when: Trigger,
    threshold: Positive = ReGraMaConfig.threshold,
    window: Count = ReGraMaConfig.window,
) -> PlasticityTransform:
    """Recycle neurons whose pre-activations get a gradient of at most ``threshold``: ReGraMa (Liu
    et al. 2025). Needs the statistic ``sensitivity``."""
    method = _rewritten(wiring, relative_sensitivity, window, at_most(threshold), recycle, when)
    return replace(method, extras=Extras(needs=("sensitivity",)))


@checked
def pruning(
    wiring: Wiring,
    *,
    when: Trigger,
    threshold: Positive = PruningConfig.threshold,
    window: Count = PruningConfig.window,
) -> PlasticityTransform:
    """Remove dormant neurons for good, activation of at most ``threshold``: a control of ReBorn's
    paper (Qin et al. 2024)."""
    return _rewritten(wiring, relative_activation, window, at_most(threshold), prune, when)
