"""Environments that break their contract, each in one way: functions for ``env.target``."""

import random
import sys

import jax
import jax.numpy as jnp
import numpy as np
from ladder.environments import DELAYED, OBSERVED

THREE = DELAYED.env
"""two agents, three actions, episodes of three transitions, the last of which pays 1"""


def changed(env, *, spec=None, **rows):
    """The environment with another spec, or time steps changed: ``name=f(time step)``."""

    def of(row):
        return row.replace(**{name: change(row) for name, change in rows.items()})

    def reset(key):
        state, row = env.reset(key)
        return state, of(row)

    def step(key, state, action):
        state, row = env.step(key, state, action)
        return state, of(row)

    return env._replace(spec=env.spec._replace(**(spec or {})), reset=reset, step=step)


def sized(**spec):
    return changed(THREE, spec=spec)


def a_dictionary():
    return {"reset": THREE.reset, "step": THREE.step}


def fails_to_be_made():
    return [][0]


def needs_size(size):
    return changed(THREE, reward=lambda row: row.reward * size)


def without_step():
    return THREE._replace(step=None)


def without_spec():
    return THREE._replace(spec={"n_agents": 2})


def reward_per_agent():
    return changed(THREE, reward=lambda row: jnp.full(2, row.reward))


def whole_observations():
    return changed(THREE, obs=lambda row: row.obs.astype(int))


def actions_left_out():
    return changed(THREE, avail_actions=lambda row: row.avail_actions[:, :2])


def actions_as_numbers():
    return changed(THREE, avail_actions=lambda row: row.avail_actions.astype(jnp.float32))


def state_of_another_size():
    return changed(THREE, state=lambda row: row.state[:-1])


def seen_as_a_dictionary():
    return changed(THREE, obs=lambda row: {"agent_0": row.obs[0]})


def seen_as_text():
    return changed(THREE, obs=lambda row: "nothing")


def batched():
    return changed(THREE, **{name: lambda row, name=name: getattr(row, name)[None]
                             for name in ("obs", "state", "avail_actions", "reward", "terminated",
                                          "truncated", "first", "won")})  # fmt: skip


def of_reset(reset):
    return THREE._replace(reset=reset)


def of_step(step):
    return THREE._replace(step=step)


def state_alone():
    return of_reset(lambda key: THREE.reset(key)[0].time)


def no_time_step():
    return of_reset(lambda key: (THREE.reset(key)[0], {"obs": jnp.ones(3)}))


def too_few_arguments():
    return of_step(lambda state, action: THREE.step(None, state, action))


def misspelt():
    return of_step(lambda key, state, action: THREE.step(key, state.tiem, action))


def branches():
    def step(key, state, action):
        if state.time > 0:
            return THREE.step(key, state, action)
        return state, THREE.reset(key)[1]

    return of_step(step)


def computes_outside():
    return of_step(lambda key, state, action: THREE.step(key, state, np.add(action, 1)))


def with_state(change):
    def step(key, state, action):
        state, row = THREE.step(key, state, action)
        return change(state), row

    return of_step(step)


def state_of_another_type():
    return with_state(lambda state: state._replace(time=state.time * 1.0))


def state_that_grows():
    return with_state(lambda state: state._replace(drawn=jnp.zeros(5)))


def state_with_text():
    return with_state(lambda state: state._replace(time="now"))


def exits():
    sys.exit("bye")


def exits_in_reset():
    return of_reset(lambda key: sys.exit(3))


def state_of_another_structure():
    return with_state(lambda state: {"time": state.time})


def counts():
    calls = []

    def step(key, state, action):
        calls.append(0)
        state, row = THREE.step(key, state, action)
        return state, row.replace(obs=row.obs * len(calls))

    return of_step(step)


def draws_without_a_key():
    return changed(THREE, obs=lambda row: row.obs * random.random())


def keeps_an_array():
    kept = []

    def step(key, state, action):
        kept.append(action[0])
        state, row = THREE.step(key, state, action)
        return state, row.replace(obs=row.obs + kept[0])

    return of_step(step)


def keeps_the_start():
    kept = []

    def reset(key):
        state, row = THREE.reset(key)
        kept[:] = [jax.random.uniform(key)]
        return state, row

    def step(key, state, action):
        state, row = THREE.step(key, state, action)
        return state, row.replace(obs=row.obs + kept[0])

    return THREE._replace(reset=reset, step=step)


def never_ends():
    return changed(THREE, terminated=lambda row: row.first & False)


def nothing_to_do():
    return changed(THREE, avail_actions=lambda row: row.avail_actions & (row.obs[0, 1] == 0))


def endless_reward():
    return changed(THREE, reward=lambda row: jnp.where(row.first, 0, jnp.inf))


def unseen():
    return changed(THREE, obs=lambda row: row.obs * jnp.nan)


def always_first():
    return changed(THREE, first=lambda row: row.first | True)


def paid_at_once():
    return changed(THREE, reward=lambda row: row.reward + 1)


def ends_twice():
    return changed(THREE, truncated=lambda row: row.last)


def won_unawares():
    return changed(THREE, won=lambda row: row.last)


def outside(function, **how):
    """Two agents that see what was drawn, by way of a function outside of jax."""

    def see(row):
        return jax.pure_callback(function, row.obs, row.obs, **how)

    return changed(OBSERVED.env, obs=see)


def drawn_outside():
    draw = np.random.default_rng(0)
    return outside(
        lambda obs: (obs + draw.random(obs.shape)).astype(np.float32), vmap_method="sequential"
    )


def alone_outside():
    return outside(lambda obs: np.asarray(obs))


def mixed_outside():
    return outside(lambda obs: np.asarray(obs) * np.size(obs), vmap_method="expand_dims")
