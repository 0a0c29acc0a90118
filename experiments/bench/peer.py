"""JaxMARL's recurrent QMIX restated: the peer that is timed if no checkout of it is given.

The same work as ``baselines/QLearning/qmix_rnn.py`` does between two evaluations, with its logging
off and its target's done flag put right: environments behind JaxMARL's own wrappers, which draw a
full reset at every step; windows that start from a fresh reset; a ring of windows; learner steps
on a uniform batch of them; a hard copy to the target networks. Arrays have the agents first,
``[N, T, B, ...]``, as there.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from peer_nets import Agent, Mixer
from settings import Settings

UNAVAILABLE = 1e10
"""subtracted from the value of an action that cannot be taken"""


class Rows(NamedTuple):
    """What is stored of each step. Leading axes: N agents where marked, then time and batch."""

    obs: Any  # N
    done: Any  # N: the flag that came with the observation, which resets the memory
    avail_actions: Any  # N
    action: Any  # N
    state: Any
    all_done: Any
    reward: Any


N_PER_AGENT = 4
"""how many fields of Rows have the agents' axis"""


class PeerState(struct.PyTreeNode):
    online: Any
    target: Any
    opt_state: Any
    ring: Rows
    rounds: jax.Array
    key: jax.Array


class Peer(NamedTuple):
    """The whole loop, and the parts of it."""

    init: Any  # key -> PeerState
    round: Any  # PeerState -> PeerState: one rollout, then the learner steps
    rollout: Any
    add: Any
    sample: Any
    learn: Any


def sizes(env, n_envs: int) -> dict[str, int]:
    """How wide a network this environment asks for."""
    from jaxmarl.wrappers.baselines import CTRolloutManager

    envs = CTRolloutManager(env, batch_size=n_envs)
    obs, _ = jax.eval_shape(envs.batch_reset, jax.random.PRNGKey(0))
    return {
        "agents": len(env.agents),
        "actions": int(envs.max_action_space),
        "obs": int(envs.obs_size) - len(env.agents),
        "state": obs["__all__"].shape[-1],
    }


def explore(key, values, avail_actions, epsilon):
    """Epsilon-greedy over the available actions, of values [N, E, A]."""

    def of_agent(key, values, avail_actions):
        key_draw, key_coin = jax.random.split(key)
        greedy = jnp.argmax(values - (1 - avail_actions) * UNAVAILABLE, axis=-1)

        def draw(key, avail_actions):
            shares = avail_actions * 1.0 / jnp.sum(avail_actions)
            return jax.random.choice(key, len(shares), p=shares)

        uniform = jax.vmap(draw)(jax.random.split(key_draw, len(greedy)), avail_actions)
        return jnp.where(jax.random.uniform(key_coin, greedy.shape) < epsilon, uniform, greedy)

    return jax.vmap(of_agent)(jax.random.split(key, len(values)), values, avail_actions)


def build(env, settings: Settings) -> Peer:
    """The peer's parts as pure functions. ``env`` is one of JaxMARL's, in its log wrapper."""
    from jaxmarl.wrappers.baselines import CTRolloutManager

    s = settings
    envs = CTRolloutManager(env, batch_size=s.n_envs)
    names = env.agents
    n_agents, n_actions = len(names), int(envs.max_action_space)
    capacity = s.buffer_windows // s.n_envs
    agent = Agent(n_actions, s.hidden)
    mixer = Mixer(s.embed, s.hyper_hidden, s.mixer_init_scale)
    optimiser = optax.chain(optax.clip_by_global_norm(s.grad_clip), optax.radam(s.lr))
    each_agent: Any = jax.vmap(agent.apply, in_axes=(None, 0, 0, 0))

    def by_agent(values):
        return jnp.stack([values[name] for name in names])

    def no_memory(batch):
        return jnp.zeros((n_agents, batch, s.hidden))

    def rollout(params, rounds, key) -> Rows:
        """One window from a fresh reset; fields ``[(N,) T, E, ...]``."""
        share = jnp.clip(rounds / (s.epsilon_share * s.total_rounds), 0.0, 1.0)
        epsilon = 1.0 + (s.epsilon_end - 1.0) * share

        def step(carry, _):
            memory, obs, done, env_state, key = carry
            key, key_action, key_step = jax.random.split(key, 3)
            seen, was_done = by_agent(obs), by_agent(done)
            memory, values = each_agent(params, memory, seen[:, None], was_done[:, None])
            avail_actions = by_agent(envs.get_valid_actions(env_state.env_state))
            action = explore(key_action, values[:, 0], avail_actions, epsilon)
            actions = dict(zip(names, action, strict=True))
            new_obs, env_state, reward, new_done, _ = envs.batch_step(key_step, env_state, actions)
            reward = s.reward_scale * reward["__all__"]
            row = Rows(
                seen, was_done, avail_actions, action, obs["__all__"], done["__all__"], reward
            )
            return (memory, new_obs, new_done, env_state, key), row

        key_reset, key = jax.random.split(key)
        obs, env_state = envs.batch_reset(key_reset)
        done = {name: jnp.zeros(s.n_envs, bool) for name in [*names, "__all__"]}
        start = (no_memory(s.n_envs), obs, done, env_state, key)
        _, rows = jax.lax.scan(step, start, None, s.window)
        return rows._replace(
            **{name: jnp.moveaxis(getattr(rows, name), 1, 0) for name in Rows._fields[:N_PER_AGENT]}
        )

    def batch_first(rows: Rows) -> list:
        return [jnp.moveaxis(x, 2 if i < N_PER_AGENT else 1, 0) for i, x in enumerate(rows)]

    def add(ring: Rows, rows: Rows, rounds) -> Rows:
        """Write E windows over the oldest; ring fields are ``[E, capacity, (N,) T, ...]``."""
        slot = rounds % capacity
        return Rows(
            *(old.at[:, slot].set(new) for old, new in zip(ring, batch_first(rows), strict=True))
        )

    def sample(ring: Rows, rounds, key) -> Rows:
        """A uniform batch of windows with replacement; fields ``[(N,) T, B, ...]``."""
        key_env, key_slot = jax.random.split(key)
        which = jax.random.randint(key_env, (s.batch,), 0, s.n_envs)
        slot = jax.random.randint(key_slot, (s.batch,), 0, jnp.minimum(rounds, capacity))
        return Rows(
            *(
                jnp.moveaxis(x[which, slot], 0, 2 if i < N_PER_AGENT else 1)
                for i, x in enumerate(ring)
            )
        )

    def loss(online, target, rows: Rows):
        inputs = (no_memory(s.batch), rows.obs, rows.done)
        _, target_values = each_agent(target["agent"], *inputs)
        _, values = each_agent(online["agent"], *inputs)
        best = jnp.argmax(values - (1 - rows.avail_actions) * UNAVAILABLE, axis=-1)

        def at(values, action):
            return jnp.take_along_axis(values, action[..., None], axis=-1)[..., 0]

        ahead = mixer.apply(target["mixer"], at(target_values, best), rows.state)[1:]
        goes_on = 1 - rows.all_done[1:]
        goal = jax.lax.stop_gradient(rows.reward[:-1] + s.gamma * goes_on * ahead)
        taken = mixer.apply(online["mixer"], at(values, rows.action), rows.state)[:-1]
        return jnp.mean((taken - goal) ** 2)

    def learn(online, target, opt_state, rows: Rows):
        grads = jax.grad(loss)(online, target, rows)
        updates, opt_state = optimiser.update(grads, opt_state, online)
        return optax.apply_updates(online, updates), opt_state

    def round_(state: PeerState) -> PeerState:
        key, key_rollout, key_learn = jax.random.split(state.key, 3)
        rows = rollout(state.online["agent"], state.rounds, key_rollout)
        ring = add(state.ring, rows, state.rounds)
        rounds = state.rounds + 1

        def learner_step(carry, key):
            batch = sample(ring, rounds, key)
            return learn(carry[0], state.target, carry[1], batch), None

        online, opt_state = jax.lax.cond(
            rounds >= s.batch,
            lambda carry: jax.lax.scan(
                learner_step, carry, jax.random.split(key_learn, s.learner_steps)
            )[0],
            lambda carry: carry,
            (state.online, state.opt_state),
        )
        target = jax.lax.cond(
            state.rounds % s.target_period == 0, lambda: online, lambda: state.target
        )
        return PeerState(online, target, opt_state, ring, rounds, key)

    def init(key) -> PeerState:
        key, key_agent, key_mixer, key_rows = jax.random.split(key, 4)
        zeros = partial(jnp.zeros, dtype=jnp.float32)
        state_size = envs.batch_reset(key)[0]["__all__"].shape[-1]
        online = {
            "agent": agent.init(
                key_agent, zeros((1, s.hidden)), zeros((1, 1, envs.obs_size)), zeros((1, 1))
            ),
            "mixer": mixer.init(key_mixer, zeros((n_agents, 1, 1)), zeros((1, 1, state_size))),
        }
        rows = jax.eval_shape(lambda: batch_first(rollout(online["agent"], 0, key_rows)))
        ring = Rows(*(jnp.zeros((s.n_envs, capacity, *x.shape[1:]), x.dtype) for x in rows))
        target = jax.tree.map(jnp.copy, online)
        return PeerState(online, target, optimiser.init(online), ring, jnp.int32(0), key)

    return Peer(init, round_, rollout, add, sample, learn)
