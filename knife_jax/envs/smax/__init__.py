"""SMAX for many battles at once: JaxMARL's rules on a structure of arrays, usable on its own.

``batched_smax`` is the environment with auto-reset. Below it, ``step`` plays one step of a
``Battle`` with given random numbers, ``observe`` shows it, ``draw_start`` and ``open_battle``
begin one, and ``load_rules`` reads a scenario.
"""

from knife_jax.envs.smax.battle import Outcome, Randoms, n_randoms, scale_randoms, step
from knife_jax.envs.smax.observe import View, observe
from knife_jax.envs.smax.rules import Rules, load_rules
from knife_jax.envs.smax.start import Mix, Start, draw_start, n_draws, open_battle
from knife_jax.envs.smax.state import Battle
from knife_jax.envs.smax.vec_env import batched_smax

__all__ = [
    "Battle",
    "Mix",
    "Outcome",
    "Randoms",
    "Rules",
    "Start",
    "View",
    "batched_smax",
    "draw_start",
    "load_rules",
    "n_draws",
    "n_randoms",
    "observe",
    "open_battle",
    "scale_randoms",
    "step",
]
