"""The trained team: networks that act, as pure functions."""

from __future__ import annotations

import operator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from knife_jax.api.inputs import Carry, Given, Sizes, checked
from knife_jax.builders.envs import of_seeds
from knife_jax.builders.player import Player
from knife_jax.config.run import Config
from knife_jax.config.schema import whole_number
from knife_jax.console.messages import listed
from knife_jax.envs.base import EnvSpec, VecEnv
from knife_jax.host.evaluate import (
    ABSOLUTE_TIMES,
    SEED,
    greedy_records,
    joined,
    open_games,
    play,
)
from knife_jax.nets.wiring import Wiring, relu_groups
from knife_jax.plasticity.base import PerNeuron
from knife_jax.plasticity.stats import mean_activation
from knife_jax.records.lines import ABSOLUTE, FINAL, Record
from knife_jax.records.series import over_tasks
from knife_jax.sinks.format import title
from knife_jax.training.evaluator import Episodes
from knife_jax.training.exploration import greedy_actions
from knife_jax.training.forward import unroll
from knife_jax.training.learner import Learner
from knife_jax.types import Variables


class Evaluation(NamedTuple):
    """Greedy episodes that were played. S is the axis of seeds, M that of episodes."""

    records: list[Record]
    """one for each task and seed, with the values of ``metrics.jsonl``"""
    episodes: list[Episodes]
    """of each task: ``returns``, ``won``, ``lengths`` ``[S, M]``"""

    @property
    def returns(self) -> list[float | None]:
        """The mean return of each seed, over its episodes and tasks, as in ``summary.json``."""
        return [record["return"] for record in over_tasks(self.records)]

    @property
    def win_rates(self) -> list[float | None]:
        """The same for the win rate; None if the environment has no winning."""
        return [record.get("win_rate") for record in over_tasks(self.records)]


class Policy(struct.PyTreeNode):
    """The networks of a run, that of all its seeds or of one.

    A pytree whose leaves are the weights: it goes through ``jit``, ``vmap`` and ``tree.map``. As
    ``load`` makes it, all arrays have an axis ``[S]`` of seeds in front; ``policy[s]``, a policy of
    one seed, has none. Behind it there may be an axis ``[E]`` of environments.
    """

    variables: Variables
    """flax collections: ``params`` and the frozen ``grafts``"""
    player: Player = struct.field(pytree_node=False)
    seeds: tuple[int, ...] = struct.field(pytree_node=False)
    env_steps: int = struct.field(pytree_node=False)
    """how long each seed had been trained"""
    kind: str = struct.field(pytree_node=False)
    """the kind of records that ``evaluate`` reproduces: ``final`` or ``absolute``"""

    @property
    def config(self) -> Config:
        """The configuration of the run."""
        return self.player.config

    @property
    def spec(self) -> EnvSpec:
        """The sizes of the environment: ``n_agents`` N, ``n_actions`` A, ``obs_size`` O, …"""
        return self.player.spec

    @property
    def has_seeds(self) -> bool:
        """Whether its arrays have an axis of seeds."""
        one = jax.tree.leaves(self.player.shapes)[0]
        return jax.tree.leaves(self.variables)[0].ndim > len(one.shape)

    def __repr__(self) -> str:
        mine = replace(self.config, seed=self.seeds[0], num_seeds=len(self))
        return f"Policy({title(mine)}, {self.env_steps:,} env steps)"

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, s: int) -> Policy:
        """Return the policy of one seed, by its place among ``seeds``."""
        if not self.has_seeds:
            raise TypeError("a policy of one seed has no axis of seeds")
        try:
            seed = self.seeds[operator.index(s)]
        except (TypeError, IndexError) as error:
            place = f"below {len(self)}, the place of one of the seeds {listed(self.seeds)}"
            refused = f"policy[{s!r}] is refused: must be a whole number {place}"
            raise type(error)(refused) from None
        variables = jax.tree.map(lambda leaf: leaf[s], self.variables)
        return self.replace(variables=variables, seeds=(seed,))

    def env(self, n_envs: int, task: int = 0) -> VecEnv:
        """Return environments of the run, with auto-reset (``knife_jax.envs.base.VecEnv``), whose
        ``reset`` and ``step`` are compiled.

        Args:
          n_envs: how many, E.
          task: of a sequence of tasks.

        Raises:
          ValueError: its games run outside of jax; ``evaluate`` plays these. Or each seed has
            tasks of its own and this is the policy of several: take that of one, ``policy[s]``.
          ConfigError: ``n_envs`` is no whole number above 0.
        """
        n_envs = whole_number(n_envs, "n_envs", 1)
        if self.player.tasks.games is not None:
            raise ValueError(f"games of env={self.spec.name} are played by Policy.evaluate alone")
        tasks = self.player.tasks
        own = of_seeds(tasks.own, self.config, self.seeds)
        if own is not None and len(self) > 1:
            raise ValueError("each seed has tasks of its own: take the policy of one, policy[s]")
        made = tasks.env(task, n_envs, jax.tree.map(lambda leaf: leaf[0], own))
        return made._replace(reset=jax.jit(made.reset), step=jax.jit(made.step))

    def initial_carry(self, n_envs: int | None = None) -> Carry:
        """Return what agents carry when an episode begins.

        Args:
          n_envs: the size of the axis E; None if arrays have none. That of 1 is an axis, too.

        Raises:
          ConfigError: ``n_envs`` is no whole number above 0.
        """
        axis = 1 if n_envs is None else whole_number(n_envs, "n_envs", 1)
        memory = self.player.learner.initial_carry(axis)
        memory = memory[0] if n_envs is None else memory
        if self.has_seeds:
            memory = jnp.broadcast_to(memory, (len(self), *memory.shape))
        return Carry(memory, jnp.full(memory.shape[:-1], -1, jnp.int32))

    def act(
        self,
        obs: Float[Given, "*X N O"],
        avail_actions: Bool[Given, "*X N A"],
        carry: Carry,
        first: Bool[Given, "*X"] | None = None,
    ) -> tuple[Int[Array, "*X N"], Carry]:
        """Choose the greedy action of each agent.

        Args:
          obs: what the agents observe; the axes X are none, ``[E]``, ``[S]`` or ``[S, E]``.
          avail_actions: which actions they may choose.
          carry: ``initial_carry`` at an episode's first step, then what the step before returned.
          first: where an episode begins at this step, so that ``carry`` is forgotten.

        Returns:
          The actions, and the carry for the next step.

        Raises:
          ValueError: an array, or one of the carry, is not of the size that goes with the others.

        Example:
          >>> policy = knife_jax.load("runs/mine", seed=0)
          >>> state, now = policy.env(64).reset(jax.random.key(0))
          >>> actions, carry = policy.act(now.obs, now.avail_actions, policy.initial_carry(64))
        """
        _, carry = self.q_values(obs, avail_actions, carry, first)
        return carry.last_action, carry

    def q_values(
        self,
        obs: Float[Given, "*X N O"],
        avail_actions: Bool[Given, "*X N A"],
        carry: Carry,
        first: Bool[Given, "*X"] | None = None,
    ) -> tuple[Float[Array, "*X N A"], Carry]:
        """Return each agent's value of every action, -inf if it is not available.

        The arguments and the carry, in which the greedy actions are the last ones, are those of
        ``act``. Of algorithms that learn distributions it is the mean or the risk that they act on.
        """
        first = self._checked(obs, carry, first, avail_actions=avail_actions)
        seen = jax.tree.map(jnp.asarray, (obs, avail_actions, carry, first))
        one = partial(_values, self.player.learner)
        valued = jax.vmap(one) if self.has_seeds else one
        return valued(self.variables, *seen)

    @property
    def wiring(self) -> Wiring:
        """The agents' hidden ReLU neurons by layer, as ``knife_jax.plasticity`` takes them."""
        return relu_groups(self.player.learner.networks.agent.wiring())

    def activations(
        self,
        obs: Float[Given, "*X N O"],
        carry: Carry,
        first: Bool[Given, "*X"] | None = None,
    ) -> PerNeuron:
        """Return the mean activation of each hidden neuron of a policy of one seed, by layer.

        Of one time step, over environments and agents; a neuron at 0 is silent for all of them.
        The arguments are those of ``act``.

        Raises:
          ValueError: this is a policy of several seeds, or an array is not of the size that goes
            with the others.
        """
        if self.has_seeds:
            raise ValueError("activations are of one seed: must be those of policy[0], for example")
        first = self._checked(obs, carry, first)
        seen = jax.tree.map(jnp.asarray, (obs, carry, first))
        if obs.ndim == 2:
            seen = jax.tree.map(lambda leaf: leaf[None], seen)
        at, carry, begins = seen
        networks, step = self.player.learner.networks, (carry.last_action[None], begins[None])
        _, _, sown = unroll(networks, self.variables, carry.memory, at[None], *step)
        return mean_activation(self.wiring, sown, jnp.ones((1, len(at)), bool))

    def _checked(self, obs: Any, carry: Any, first: Any, **of_actions: Any) -> Bool[Given, "*X"]:
        lead, memory = (len(self),) * self.has_seeds, self.player.learner.initial_carry(1)
        sizes = Sizes(lead, self.spec, memory.shape[-1])
        return checked(sizes, obs, carry, first, **of_actions)

    def evaluate(self, episodes: int | None = None, seed: int | None = None) -> Evaluation:
        """Play greedily in all tasks of the run.

        By default the newest policy plays the episodes of the run's final evaluation and gets its
        ``final_return`` again, and that of ``checkpoint="best"`` the ten times as many of the
        absolute metric (``absolute_return``).

        Args:
          episodes: of each task and seed; by default as in the run.
          seed: of the episodes; by default as in the run, 128.

        Returns:
          Records and episodes. S is 1 for a policy of one seed.

        Raises:
          ContractError: an episode outlasts the horizon, or a return is not finite.
          ConfigError: ``episodes`` or ``seed`` is no such number.

        Example:
          >>> knife_jax.load("runs/mine").evaluate().returns
          [8.0, 8.0]
        """
        kept = self.kind == ABSOLUTE and episodes is None
        kind, times = (self.kind, ABSOLUTE_TIMES) if kept else (FINAL, 1)
        asked = self.config.evaluation.episodes if episodes is None else episodes
        greedy = self.player.greedy(self.seeds, whole_number(asked, "episodes", 1))
        variables = self.variables
        if not self.has_seeds:
            variables = jax.tree.map(lambda leaf: leaf[None], variables)
        base = whole_number(SEED if seed is None else seed, "seed", 0)
        stamp = {"env_steps": self.env_steps}
        with open_games(greedy, greedy.config):
            played = play(greedy, variables, kind, self.seeds, self.env_steps, base, times)
            episodes_of = joined(played)
        records = greedy_records(greedy, kind, self.seeds, episodes_of.items(), stamp)
        return Evaluation(records, [*episodes_of.values()])


def _values(
    learner: Learner,
    variables: Variables,
    obs: Float[Array, "*E N O"],
    avail_actions: Bool[Array, "*E N A"],
    carry: Carry,
    first: Bool[Array, "*E"],
) -> tuple[Float[Array, "*E N A"], Carry]:
    """Values and next carry of one seed, in one or in E environments."""
    if obs.ndim == 2:
        given = jax.tree.map(lambda leaf: leaf[None], (obs, avail_actions, carry, first))
        return jax.tree.map(lambda leaf: leaf[0], _values(learner, variables, *given))
    step = obs[None], carry.last_action[None], first[None]
    memory, values, _ = unroll(learner.networks, variables, carry.memory, *step)
    at_step = values["agent"].values[0]
    actions = greedy_actions(at_step, avail_actions)
    return jnp.where(avail_actions, at_step, -jnp.inf), Carry(memory, actions)
