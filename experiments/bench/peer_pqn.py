"""JaxMARL's recurrent PQN-VDN restated: the peer without a replay and without target networks.

The same work as ``baselines/QLearning/pqn_vdn_rnn.py`` does between two evaluations, with its
logging off: environments that go on from round to round, behind JaxMARL's own wrappers; windows
that begin with the last steps of the round before; epochs of minibatches of environments; goals by
λ-returns of the network's own values. Arrays have time and agents first, ``[T, N, E, ...]``, as
there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from peer import UNAVAILABLE, explore
from peer_nets import NormalAgent
from settings import PqnSettings


class Rows(NamedTuple):
    """What is stored of each step."""

    memory: Any
    """[T, N, E, H]: before the step"""
    obs: Any
    done: Any
    """[T, N, E]: the flag that came with the observation, which resets the memory"""
    avail_actions: Any
    action: Any
    reward: Any
    """[T, 1, E], like what follows"""
    all_done: Any


class PqnState(struct.PyTreeNode):
    variables: Any
    """``params`` and, with batch normalisation, ``batch_stats``"""
    opt_state: Any
    recent: Rows
    """of the round before"""
    actor: Any
    rounds: jax.Array
    key: jax.Array


class PqnPeer(NamedTuple):
    init: Any  # key -> PqnState
    round: Any  # PqnState -> PqnState: one rollout, then the epochs
    greedy: Any  # (variables, key) -> Rows of greedy play from a fresh reset


def goals(values, rows: Rows, gamma: float, lam: float):
    """λ-returns [T - 1, E] of all steps but the last, which only bootstraps, by values
    [T, N, E, A]."""
    best = jnp.max(values - (1 - rows.avail_actions) * UNAVAILABLE, axis=-1).sum(axis=1)
    goes_on = gamma * (1 - rows.all_done[:-1, 0])

    def backwards(ahead, step):
        reward, discount, value = step
        goal = reward + discount * ((1 - lam) * value + lam * ahead)
        return goal, goal

    steps = rows.reward[:-1, 0], goes_on, best[1:]
    return jax.lax.scan(backwards, best[-1], steps, reverse=True)[1]


def build(env, settings: PqnSettings) -> PqnPeer:
    """The peer's loop as pure functions. ``env`` is one of JaxMARL's, in its log wrapper."""
    from jaxmarl.wrappers.baselines import CTRolloutManager

    s = settings
    envs = CTRolloutManager(env, batch_size=s.n_envs)
    names, n_agents = env.agents, len(env.agents)
    agent = NormalAgent(int(envs.max_action_space), s.hidden, s.layers, s.batch_norm)
    steps = s.epochs * s.minibatches * s.total_rounds
    optimiser = optax.chain(
        optax.clip_by_global_norm(s.grad_clip),
        optax.radam(optax.linear_schedule(s.lr, 1e-10, steps)),
    )
    epsilon = optax.linear_schedule(1.0, s.epsilon_end, int(s.epsilon_share * s.total_rounds))

    def by_agent(values):
        return jnp.stack([values[name] for name in names])

    def apply(variables, memory, obs, done, learns):
        """Memories after the last step and values, of all agents in one batch; new statistics."""
        flat = lambda x: x.reshape(x.shape[0], -1, *x.shape[3:])  # noqa: E731
        (memory, values), changed = agent.apply(
            variables, memory.reshape(-1, s.hidden), flat(obs), flat(done), learns,
            mutable=["batch_stats"] if learns else [],
        )  # fmt: skip
        shape = obs.shape[1:-1]
        return memory.reshape(*shape, -1), values.reshape(len(obs), *shape, -1), changed

    def begin(key):
        obs, env_state = envs.batch_reset(key)
        done = {name: jnp.zeros(s.n_envs, bool) for name in [*names, "__all__"]}
        return jnp.zeros((n_agents, s.n_envs, s.hidden)), obs, done, env_state

    def rollout(variables, actor, epsilon, length, key):
        """The actor after so many steps, and their rows."""

        def step(carry, key):
            memory, obs, done, env_state = carry
            key_action, key_step = jax.random.split(key)
            seen, was_done = by_agent(obs), by_agent(done)
            after, values, _ = apply(variables, memory, seen[None], was_done[None], False)
            avail_actions = by_agent(envs.get_valid_actions(env_state.env_state))
            action = explore(key_action, values[0], avail_actions, epsilon)
            chosen = dict(zip(names, action, strict=True))
            obs, env_state, reward, done, _ = envs.batch_step(key_step, env_state, chosen)
            row = Rows(
                memory, seen, was_done, avail_actions, action,
                s.reward_scale * reward["__all__"][None], done["__all__"][None],
            )  # fmt: skip
            return (after, obs, done, env_state), row

        return jax.lax.scan(step, actor, jax.random.split(key, length))

    def learn(carry, rows: Rows):
        variables, opt_state = carry

        def loss(params):
            given = {**variables, "params": params}
            _, values, changed = apply(given, rows.memory[0], rows.obs, rows.done, True)
            goal = goals(jax.lax.stop_gradient(values), rows, s.gamma, s.lam)
            taken = jnp.take_along_axis(values, rows.action[..., None], axis=-1)[..., 0]
            return jnp.mean((taken.sum(axis=1)[:-1] - goal) ** 2), changed

        grads, changed = jax.grad(loss, has_aux=True)(variables["params"])
        updates, opt_state = optimiser.update(grads, opt_state, variables["params"])
        params = optax.apply_updates(variables["params"], updates)
        return ({**variables, **changed, "params": params}, opt_state), None

    def epoch(carry, key, rows: Rows):
        order = jax.random.permutation(key, s.n_envs)

        def split(x):
            batches = x[:, :, order].reshape(*x.shape[:2], s.minibatches, -1, *x.shape[3:])
            return jnp.moveaxis(batches, 2, 0)

        return jax.lax.scan(learn, carry, jax.tree.map(split, rows))

    def round_(state: PqnState) -> PqnState:
        key, key_rollout, key_learn = jax.random.split(state.key, 3)
        actor, rows = rollout(
            state.variables, state.actor, epsilon(state.rounds), s.window, key_rollout
        )
        recent = jax.tree.map(
            lambda old, new: jnp.concatenate([old[s.window :], new]), state.recent, rows
        )
        (variables, opt_state), _ = jax.lax.scan(
            lambda carry, key: epoch(carry, key, recent),
            (state.variables, state.opt_state),
            jax.random.split(key_learn, s.epochs),
        )
        return PqnState(variables, opt_state, recent, actor, state.rounds + 1, key)

    def init(key) -> PqnState:
        key, key_agent, key_reset, key_play = jax.random.split(key, 4)
        zeros = jnp.zeros((1, s.hidden)), jnp.zeros((1, 1, envs.obs_size)), jnp.zeros((1, 1))
        variables = agent.init(key_agent, *zeros)
        actor, recent = rollout(variables, begin(key_reset), 1.0, s.memory + s.window, key_play)
        opt_state = optimiser.init(variables["params"])
        return PqnState(variables, opt_state, recent, actor, jnp.int32(0), key)

    def greedy(variables, key) -> Rows:
        key_reset, key_play = jax.random.split(key)
        return rollout(variables, begin(key_reset), 0.0, s.window, key_play)[1]

    return PqnPeer(init, round_, greedy)
