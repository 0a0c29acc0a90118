"""Greedy episodes step by step: what was there, what the networks said of it, and what was done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from knife_jax.envs.base import TimeStep, VecEnv
from knife_jax.mixers.base import Joint, mean_of
from knife_jax.nets.wiring import layer
from knife_jax.training.evaluator import Episodes, Moment, play
from knife_jax.training.forward import estimate, unroll
from knife_jax.training.learner import Learner
from knife_jax.training.rollout import ActorState, start
from knife_jax.types import PyTree, Variables

MEMORY = "agent/memory"
"""the agents' recurrent state, among the activities"""


class Decisions(NamedTuple):
    """What the networks said at each step of K episodes, in JAX or NumPy."""

    avail_actions: Bool[Any, "T K N A"]
    action: Int[Any, "T K N"]
    values: Float[Any, "T K N A"]
    q_tot: Float[Any, "T K"]
    reward: Float[Any, "T K"]
    """of the transition that follows"""
    activity: Mapping[str, Float[Any, "T K ... W"]]
    """what each measured layer puts out, by name, and ``MEMORY``"""


class Recorded(NamedTuple):
    """The first K of E greedy episodes. Rows after the end of an episode say nothing of it."""

    scenes: Mapping[str, Any]
    """what is drawn of a time step ``[T1, K, ...]``: the view's scene, else ``obs``, ``state``"""
    decisions: Decisions
    episodes: Episodes
    """all E"""
    mean_activity: Mapping[str, Float[Any, "W"]]
    """mean |h_i| of each neuron over all steps of all E episodes"""


class _Notes(NamedTuple):
    scenes: PyTree
    decisions: Decisions
    activity: PyTree
    """sums over steps and environments"""


def record(
    env: VecEnv, learner: Learner, variables: Variables, key: PRNGKeyArray, n: int
) -> Recorded:
    """Play as ``evaluate`` does with this key, and keep the first ``n`` episodes step by step."""
    actor = start(env, learner.initial_carry(env.n_envs), key)

    def few(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: leaf[:n], tree)

    def scene(actor: ActorState) -> PyTree:
        return few(dict(_look(env, actor.env, actor.time_step)))

    def decide(moment: Moment) -> Decisions:
        before, now = moment.before, moment.before.time_step
        action = moment.after.last_action
        step: Any = now.obs[None], before.last_action[None], now.first[None]
        _, agents, sown = unroll(learner.networks, variables, before.carry, *step)
        joint = Joint(agents, action[None], now.state[None], now.avail_actions[None])
        estimates, sown["mixer"] = estimate(learner.networks, variables, joint)
        heard = {g.name: layer(sown, g)["activation"][0][0] for g in learner.wiring}
        heard[MEMORY] = sown["agent"]["representation"][0][0]
        said = now.avail_actions, action, agents["agent"].values[0], mean_of(estimates["q_tot"])[0]
        return Decisions(*said, moment.after.time_step.reward, heard)

    def note(notes: _Notes, moment: Moment) -> _Notes:
        made = decide(moment)

        def put(rows: PyTree, row: PyTree, at: Array) -> PyTree:
            return jax.tree.map(lambda all_, one: all_.at[at].set(one), rows, row)

        def add(total: Array, h: Array) -> Array:
            over = tuple(range(1, h.ndim - 1))
            mean = jnp.mean(jnp.abs(h), axis=over) if over else jnp.abs(h)
            return total + jnp.sum(mean * moment.alive[:, None], axis=0)

        return _Notes(
            put(notes.scenes, scene(moment.after), moment.steps + 1),
            put(notes.decisions, few(made), moment.steps),
            jax.tree.map(add, notes.activity, dict(made.activity)),
        )

    moment = Moment(jnp.zeros((), jnp.int32), jnp.ones(env.n_envs, bool), actor, actor)
    said = jax.eval_shape(decide, moment)

    def rows(tree: PyTree, length: int) -> PyTree:
        return jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), tree)

    first = scene(actor)
    scenes = jax.tree.map(
        lambda all_, one: all_.at[0].set(one), rows(first, env.spec.horizon + 1), first
    )
    empty = rows(jax.eval_shape(few, said), env.spec.horizon)
    totals = {name: jnp.zeros(leaf.shape[-1]) for name, leaf in said.activity.items()}
    episodes, notes = play(env, learner, variables, actor, note, _Notes(scenes, empty, totals))
    steps = jnp.maximum(jnp.sum(episodes.lengths), 1)
    means = jax.tree.map(lambda total: total / steps, notes.activity)
    return Recorded(notes.scenes, notes.decisions, episodes, means)


def _look(env: VecEnv, state: PyTree, now: TimeStep) -> Mapping[str, Array]:
    if env.view is None:
        return {"obs": now.obs, "state": now.state}
    return env.view.look(state, now)
