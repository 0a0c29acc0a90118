"""Configurations small enough for tests, and trees of numbers that no program has to make."""

from functools import partial

import jax
import numpy as np

from knife_jax.config.algo import AlgoConfig
from knife_jax.config.environments import SmaxConfig
from knife_jax.config.factorisation import ALGOS
from knife_jax.config.methods import PLASTICITIES
from knife_jax.config.run import Config, EvaluationConfig, RecordingConfig
from knife_jax.training.forward import init_networks


def tiny_config(*, seeds=1, n_envs=7, plasticity=None, env_steps=5000, log_every=500, **algo):
    """A run of a few seconds; ``algo`` and ``plasticity`` override single fields.

    ``mixer="vdn"`` compiles in half of the time, for tests of what does not depend on the mixer.
    """
    sizes = {
        "name": "qmix", "hidden": 13, "embed": 5, "hyper_hidden": 11, "lr": 3e-3, "eps": 1e-8,
        "td_lambda": 0.5, "window": 5, "batch_size": 17, "buffer_size": 203,
        "updates_per_round": 3, "learning_starts": 105, "target_period": 20,
        "epsilon_steps": 1000, "epsilon_end": 0.1,
    }  # fmt: skip
    treatment = plasticity or {"name": "none", "method": "none"}
    return Config(
        seed=0,
        num_seeds=seeds,
        env_steps=env_steps,
        log_every=log_every,
        env=SmaxConfig(n_envs=n_envs),
        algo=ALGOS.get(algo.get("mixer", "qmix"), AlgoConfig)(**{**sizes, **algo}),
        plasticity=PLASTICITIES[treatment["method"]](**treatment),
        evaluation=EvaluationConfig(every=env_steps, episodes=19),
        recording=RecordingConfig(episodes=0),
    )


KNIFE = {"name": "knife", "method": "knife", "interval": 300, "window": 10, "threshold": 0.8}


def drawn(make, *args, seed=0, scale=0.5):
    """Random numbers in the shapes of what a function makes; no program is compiled."""
    rng = np.random.default_rng(seed)

    def leaf(shape):
        if np.issubdtype(shape.dtype, np.floating):
            return (scale * rng.normal(size=shape.shape)).astype(shape.dtype)
        return rng.integers(0, 2, shape.shape).astype(shape.dtype)

    return jax.tree.map(leaf, jax.eval_shape(make, *args))


def untrained(make, *args, seed=0):
    """Variables in the shapes of those that a function makes, of the size of PyTorch's first ones
    and without grafts in use; no program is compiled."""
    rng = np.random.default_rng(seed)

    def leaf(shape):
        drawn = rng.uniform(-1, 1, shape.shape) / np.sqrt(shape.shape[0])
        return jax.device_put(drawn.astype(shape.dtype))

    def unused(shape):
        return jax.device_put(np.zeros(shape.shape, shape.dtype))

    return {
        name: jax.tree.map(unused if name == "grafts" else leaf, tree)
        for name, tree in jax.eval_shape(make, *args).items()
    }


def begin_networks(networks, spec, key):
    """What ``init_networks`` makes, without a program that draws it; the key has a hand in it."""
    made = untrained(partial(init_networks, networks, spec), key)
    own = 1 + jax.random.uniform(key) / 4
    return {**made, "params": jax.tree.map(lambda leaf: own * leaf, made["params"])}


def seed_of(tree, s):
    """What is one seed's; no program is compiled, as each shape would need one for ``x[s]``."""

    def of(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf[s]
        return jax.device_put(np.asarray(leaf)[s])

    return jax.tree.map(of, tree)
