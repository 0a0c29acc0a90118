"""The networks of a config, and how wide they are."""

from __future__ import annotations

import bisect
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from knife_jax.config.grafting import KnifeConfig, WiderConfig
from knife_jax.config.mixers import MIXERS
from knife_jax.config.plasticity import NetworkOptions
from knife_jax.config.registry import resolve
from knife_jax.config.run import Config
from knife_jax.envs.base import EnvSpec
from knife_jax.mixers.base import Factorisation, MixerOptions
from knife_jax.nets.agent import RecurrentAgent
from knife_jax.nets.initialisers import INITS
from knife_jax.training.forward import Networks, init_networks


def network_options(config: Config) -> NetworkOptions:
    """What the algorithm and the method together ask of the hidden layers."""
    options = config.plasticity.networks()
    return options._replace(layer_norm=options.layer_norm or config.algo.layer_norm)


def make_factorisation(config: Config, spec: EnvSpec) -> Factorisation:
    """Make the mixer, and what its algorithm has besides."""
    algo = config.algo
    made = resolve(MIXERS[algo.mixer])(
        MixerOptions(
            n_agents=spec.n_agents, n_actions=spec.n_actions, embed=algo.embed,
            hyper_hidden=algo.hyper_hidden, init=INITS[algo.init](algo.hyper_init_scale),
            **network_options(config)._asdict(),
        ),
        **algo.arguments(),
    )  # fmt: skip
    return made if isinstance(made, Factorisation) else Factorisation(made)


def make_networks(config: Config, spec: EnvSpec, made: Factorisation | None = None) -> Networks:
    """Make the agents' network and the mixer, of a factorisation if it is there already."""
    algo, made = config.algo, made or make_factorisation(config, spec)
    options = network_options(config)
    agent = RecurrentAgent(
        spec.n_actions, algo.hidden, INITS[algo.init](1.0), options.slots, algo.agent_id,
        algo.last_action, *options[1:], n_layers=algo.encoder_layers, head_with=made.head,
    )  # fmt: skip
    return Networks(agent, made.mixer, algo.mask_dead)


def n_weights(config: Config, spec: EnvSpec) -> int:
    """How many numbers its networks consist of, frozen ones included."""
    networks = make_networks(config, spec)
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
