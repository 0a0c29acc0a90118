"""The target network's update: Polyak averaging (soft update), or a copy (hard update)."""

from __future__ import annotations

import jax

from knife_jax.checks import checked
from knife_jax.config.schema import PositiveFraction
from knife_jax.nets.graft import equal_in_target
from knife_jax.types import Variables


@checked
def update_target(online: Variables, target: Variables, tau: PositiveFraction) -> Variables:
    """Move the target network towards the online one: target + τ (online - target).

    Kept neurons are averaged like trained ones, since online and target keep different ones;
    compensations and slot counts are equal in both and are copied. A network averaged right
    after surgery therefore computes what it would have computed without it.

    Args:
      online: ``params`` and ``grafts`` of the network that is trained.
      target: those of its target network, in equal shapes.
      tau: how far to move; 1 copies.

    Returns:
      The new target network.
    """
    if tau == 1.0:
        return online

    def average(path, o, t):
        name = str(getattr(path[-1], "key", ""))
        return o if equal_in_target(name) else t + tau * (o - t)

    return jax.tree_util.tree_map_with_path(average, online, target)
