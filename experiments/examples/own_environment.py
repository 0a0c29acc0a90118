"""An environment of your own, a function that returns an ``Env``: two agents on a line must meet.

Check it, then train in it, from the folder that its module is found from:

    python -m knife_jax.envs.check experiments.examples.own_environment:make length=9
    python -m knife_jax.train env=custom env.target=experiments.examples.own_environment:make
"""

import jax
import jax.numpy as jnp

from knife_jax import envs


def make(length: int = 7) -> envs.Env:
    """Actions are left, stay, right; the team gets 1 when it meets. Agents see both places."""

    def see(place):
        one_hot = jax.nn.one_hot(place, length)
        obs = jnp.stack([one_hot.reshape(-1), one_hot[::-1].reshape(-1)])  # the own place first
        return obs, one_hot.reshape(-1), jnp.ones((2, 3), bool)

    def reset(key):
        place = jax.random.choice(key, length, (2,), replace=False)
        return (place, jnp.int32(0)), envs.first_step(*see(place))

    def step(key, state, action):
        place, steps = jnp.clip(state[0] + action - 1, 0, length - 1), state[1] + 1
        met, no = place[0] == place[1], jnp.zeros((), bool)
        late = ~met & (steps >= 2 * length)
        return (place, steps), envs.TimeStep(*see(place), 1.0 * met, met, late, first=no, won=met)

    def look(state, now):  # how it is drawn in recordings; an environment need not say it
        return {"x": state[0] + 0.5, "y": jnp.array([0.7, 0.3])}

    walkers = (envs.Body("agent 1", "agent"), envs.Body("agent 2", "agent"))
    line = envs.Arena(0, 0, length, 1, (envs.Kind("walker", 0.2),), walkers, cells=True)
    size = 2 * length  # of an observation, of the state, and the longest episode
    spec = envs.EnvSpec("meeting", 2, 3, size, size, size, True)
    return envs.Env(spec, reset, step, envs.View(("left", "stay", "right"), line, look))
