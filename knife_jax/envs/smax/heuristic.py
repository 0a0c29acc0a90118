"""JaxMARL's scripted enemy: shoot the closest ally until it dies, else walk to one it sees."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from knife_jax.envs.fold import fold
from knife_jax.envs.smax.rules import Rules
from knife_jax.envs.smax.state import Battle, per_unit, row


def enemy_actions(
    rules: Rules, battle: Battle, choice: Float[Array, "M E"]
) -> tuple[Int[Array, "M E"], Int[Array, "M E"]]:
    """The action of every enemy, and the ally that it aims at from now on (-1 for none).

    `choice` in (0, 1] picks which of the allies in sight an enemy out of range walks to: it sees
    them in reverse order, and ally k of n is taken if k - 1 < n * choice <= k.
    """
    n = rules.n_allies
    x, y, alive = (array[n:] for array in (battle.x, battle.y, battle.alive))
    sight = per_unit(rules, "sight", battle.unit_type)[n:]
    reach = per_unit(rules, "reach", battle.unit_type)[n:]

    def relative(k):
        j = n - 1 - k
        dx, dy = row(battle.x, j) - x, row(battle.y, j) - y
        away = dx * dx + dy * dy
        seen = (away < sight * sight) & alive & row(battle.alive, j)
        return j, dx, dy, away, seen

    def survey(k, carry):
        count, nearest, closest, keeps = carry
        j, _, _, away, seen = relative(k)
        in_reach = seen & (away < reach * reach)
        closer = in_reach & (away < nearest)
        return (
            count + seen,
            jnp.where(closer, away, nearest),
            jnp.where(closer, j, closest),
            keeps | (in_reach & (battle.aim == j)),
        )

    none = jnp.full(x.shape, -1, jnp.int32)
    start = (jnp.zeros(x.shape), jnp.full(x.shape, jnp.inf), none, jnp.zeros(x.shape, bool))
    count, _, closest, keeps = fold(survey, start, n)
    wanted = count * choice

    def pick(k, carry):
        passed, to_x, to_y = carry
        _, dx, dy, _, seen = relative(k)
        chosen = seen & (passed < wanted) & (wanted <= passed + 1)
        return passed + seen, jnp.where(chosen, dx, to_x), jnp.where(chosen, dy, to_y)

    own_x, own_y = jnp.where(alive, x, 0.0), jnp.where(alive, y, 0.0)
    away_to_goal = (jnp.zeros(x.shape), battle.goal_x - own_x, battle.goal_y - own_y)
    _, to_x, to_y = fold(pick, away_to_goal, n)
    move = jnp.zeros(x.shape, jnp.int32)
    best = to_y
    for k, along in enumerate((to_x, -to_y, -to_x), start=1):
        move, best = jnp.where(along > best, k, move), jnp.maximum(along, best)
    aim = jnp.where(keeps, battle.aim, closest)
    attack = rules.n_moves + 1 + (n - 1 - aim)
    return jnp.where(aim >= 0, attack, move), aim
