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

    averaged = jax.tree.map(lambda o, t: t + tau * (o - t), online, target)
    return equalised(online, averaged)


def equalised(online: Variables, target: Variables) -> Variables:
    """Return the target network with the leaves of the online one that are equal in both."""

    def one(path, o, t):
        return o if equal_in_target(str(getattr(path[-1], "key", ""))) else t

    return jax.tree_util.tree_map_with_path(one, online, target)
