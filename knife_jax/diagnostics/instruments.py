"""All instruments of a training program, as one function of its state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from knife_jax.clock import Clock
from knife_jax.diagnostics import collect, regression
from knife_jax.diagnostics.curvature import kernels, largest_eigenvalue, sum_over_agents
from knife_jax.diagnostics.summary import Collected, summarise
from knife_jax.parallel.shards import SAME, SEEDS
from knife_jax.training.state import TrainState, layout
from knife_jax.training.trainer import Trainer
from knife_jax.types import PyTree

GRADIENTS = 8
"""windows that gradients are taken of"""
POWER_STEPS = 6
"""Hessian-vector products for the largest eigenvalue"""
SEED = 20230302
"""with the rounds of training it decides what is sampled, so that a probe can be repeated"""


class Sizes(NamedTuple):
    """How much the instruments look at."""

    windows: int
    """replayed windows whose activations are looked at"""
    functions: int
    """random functions to learn"""
    fit_steps: int
    """optimiser steps on each; 0 = none"""


Probe = Callable[[TrainState, Clock], dict[str, np.ndarray]]
"""(state [S, ...], clock) -> flat names -> [S]"""


def make_probe(
    trainer: Trainer,
    sizes: Sizes,
    window: int,
    over_seeds: Callable[[Callable, tuple[Any, ...]], Callable],
    fetch: Callable[[PyTree], Any],
) -> Probe:
    """All instruments of a trainer. They compile at their first use and change nothing.

    ``window`` is the length of the running means of its plasticity method, ``over_seeds(f,
    layout)`` maps over seeds and ``fetch`` brings arrays to the host. Randomness depends on the
    rounds of training alone.
    """
    k = min(GRADIENTS, sizes.windows)

    def compiled(f: Callable, *layout: Any) -> Callable:
        return jax.jit(over_seeds(f, layout))

    look = compiled(
        partial(collect.look, trainer, sizes.windows, k), layout(trainer.shards), SAME, SAME
    )
    gradient = compiled(
        partial(collect.td_gradient, trainer), SEEDS, SEEDS, SEEDS, SEEDS, SAME, SAME
    )
    next_step = compiled(partial(collect.next_step, trainer.learner.optimiser), SEEDS, SEEDS, SAME)
    fit = compiled(partial(regression.fit, trainer, sizes.fit_steps), SAME, SEEDS, SEEDS)

    @np.errstate(invalid="ignore", over="ignore")
    def probe(state: TrainState, clock: Clock) -> dict[str, np.ndarray]:
        rounds = int(clock.rounds)
        rng = np.random.default_rng((SEED, rounds))
        view = look(state, clock, jax.random.fold_in(jax.random.key(SEED), rounds))
        n_agents = view.batch.obs.shape[3]
        weights = fetch(state.patient.online["params"])
        all_windows, all_agents = np.ones(k, bool), np.ones(n_agents, np.float32)

        def gradient_at(weights: PyTree, windows=all_windows, heard=all_agents) -> PyTree:
            given = state.patient, weights, view.batch, view.goals
            return fetch(gradient(*given, windows, heard))

        def of_agent(heard: np.ndarray) -> PyTree:
            return kernels({"agent": gradient_at(weights, heard=heard)["agent"]})

        whole = gradient_at(weights)
        collected = Collected(
            view=fetch(view._replace(batch=(), goals=())),
            weights=weights,
            gradient=whole,
            single=[gradient_at(weights, windows=one) for one in np.eye(k, dtype=bool)],
            agents=sum_over_agents([of_agent(one) for one in np.eye(n_agents, dtype=np.float32)]),
            step=fetch(next_step(state.patient, whole, clock)),
            hessian=largest_eigenvalue(gradient_at, weights, POWER_STEPS, rng),
            fits={},
        )
        if sizes.fit_steps:
            random = regression.random_parameters(weights, sizes.functions, rng)
            collected = collected._replace(fits=fetch(fit(random, state.patient, view)))
        return summarise(collected, int(clock.updates), window, trainer.slots)

    return probe
