"""``python -m knife_jax.envs.check my_package.my_env:make [NAME=VALUE ...]``: is it an ``Env``?

``check`` is what is called before anything is compiled for an environment from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from knife_jax.console.entry import run
from knife_jax.envs import contract
from knife_jax.envs.base import Env, vectorise
from knife_jax.envs.contract import ContractError
from knife_jax.envs.inspection import faults_of, why
from knife_jax.envs.rehearsal import Rehearsal, rehearse

N_ENVS = 8
"""environments that are played together"""


class Checked(NamedTuple):
    """An environment that keeps its contract, as far as random play shows."""

    env: Env
    played: Rehearsal
    """steps [T, N_ENVS] under random actions"""
    play: Callable[[], Rehearsal]
    """plays them again, compiled"""


def check(env: Env) -> Checked:
    """Check that an environment keeps the contract of ``envs.base``.

    First it is traced (shapes, dtypes, structure of its state, purity), then played at random on
    the CPU, for an episode of the longest or ``rehearsal.REHEARSED`` steps.

    Args:
        env: the environment.

    Returns:
        What was played.

    Raises:
        ContractError: a clause is broken; ``faults`` has a line for each.

    Example:
        >>> checked = check(make(length=5))
        >>> checked.played.returns[checked.played.last].mean()
        0.53
    """
    name = getattr(env.spec, "name", "")
    if faults := faults_of(env):
        raise ContractError(str(name), faults)
    with _on_cpu():
        vec, key = vectorise(env, N_ENVS), jax.random.key(0)
        try:
            compiled = jax.jit(partial(rehearse, vec)).lower(key).compile()
            played, again = (jax.device_get(compiled(key)) for _ in range(2))
            plays_alone = _plays_alone(env)
        except Exception as error:  # whatever the user's code meets
            raise ContractError(name, [why(f"a batch of {N_ENVS} environments", error)]) from None
    contract.check(env.spec, played.breaches)
    if not _equal(played, again):
        raise ContractError(name, ["equal keys and actions lead to different steps"])
    if not plays_alone:
        raise ContractError(name, ["environments in a batch play another game than one alone"])
    if played.won.any() and not env.spec.has_win:
        raise ContractError(name, ["episodes are won, but spec.has_win is False"])
    return Checked(env, played, lambda: jax.block_until_ready(compiled(key)))


def _on_cpu():
    """Arrays are made on the host, if jax may use it."""
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:
        return nullcontext()


def _equal(a: Rehearsal, b: Rehearsal) -> bool:
    leaves = map(jax.tree.leaves, (a, b))
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(*leaves, strict=True))


def _plays_alone(env: Env) -> bool:
    """Whether an environment in a batch does what it does alone; only functions outside of jax
    can make it differ."""
    actions = jnp.zeros(env.spec.n_agents, jnp.int32)

    def begun(key):
        state, first = env.reset(key)
        return first, env.step(key, state, actions)[1]

    keys = jax.random.split(jax.random.key(0), N_ENVS)
    if "callback" not in str(jax.make_jaxpr(begun)(keys[0])):
        return True
    together, alone = jax.jit(jax.vmap(begun))(keys), [jax.jit(begun)(key) for key in keys]
    alone = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    leaves = map(jax.tree.leaves, (together, alone))
    return all(np.allclose(x, y, rtol=1e-3, atol=1e-5) for x, y in zip(*leaves, strict=True))


if __name__ == "__main__":
    run("knife_jax.cli.check_env")
