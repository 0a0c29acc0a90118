"""The networks of a config, and how wide they are."""

from __future__ import annotations

import bisect
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from knife_jax.config.grafting import KnifeConfig, WiderConfig
from knife_jax.config.mixers import MIXERS
from knife_jax.config.registry import resolve
from knife_jax.config.run import Config
from knife_jax.envs.base import EnvSpec
from knife_jax.mixers.base import MixerOptions
from knife_jax.nets.agent import RecurrentAgent
from knife_jax.nets.initialisers import INITS
from knife_jax.nets.wiring import Wiring
from knife_jax.training.forward import Networks, init_networks


def make_networks(config: Config, spec: EnvSpec) -> tuple[Networks, Wiring]:
    """Make the agents' network and the mixer, and say where their neurons are."""
    algo, init = config.algo, INITS[config.algo.init]
    options = config.plasticity.networks()
    agent = RecurrentAgent(
        spec.n_actions, algo.hidden, init(1.0), options.slots, algo.agent_id,
        algo.last_action, *options[1:],
    )  # fmt: skip
    mixer = resolve(MIXERS[algo.mixer])(
        MixerOptions(
            n_agents=spec.n_agents, embed=algo.embed, hyper_hidden=algo.hyper_hidden,
            init=init(algo.hyper_init_scale), **options._asdict(),
        )
    )  # fmt: skip
    return Networks(agent, mixer), (*agent.wiring(), *mixer.wiring())


def n_weights(config: Config, spec: EnvSpec) -> int:
    """How many numbers its networks consist of, frozen ones included."""
    networks, _ = make_networks(config, spec)
    begin = partial(init_networks, networks, spec)
    leaves = jax.tree.leaves(jax.eval_shape(begin, jax.random.key(0)))
    return sum(leaf.size for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating))


def widened(config: Config, spec: EnvSpec) -> Config:
    """The config with all widths larger by one factor, the smallest that gives its networks as many
    weights as KNIFE's have with all slots counted."""
    if not isinstance(config.plasticity, WiderConfig):
        return config
    algo, knife = config.algo, KnifeConfig(name="knife", slots=config.plasticity.slots)
    goal = n_weights(replace(config, plasticity=knife), spec)

    def of_width(hidden: int) -> Config:
        embed, hyper = (round(w * hidden / algo.hidden) for w in (algo.embed, algo.hyper_hidden))
        return replace(config, algo=replace(algo, hidden=hidden, embed=embed, hyper_hidden=hyper))

    widths = range(algo.hidden, algo.hidden * (2 + 2 * knife.slots))
    size = lambda hidden: n_weights(of_width(hidden), spec)  # noqa: E731
    return of_width(widths[bisect.bisect_left(widths, goal, key=size)])
