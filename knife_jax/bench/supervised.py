"""A plain supervised network under a plasticity method: all that a user's own network needs.

R rows, I inputs, Y outputs, F phases of training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray

from knife_jax.clock import Clock
from knife_jax.nets.graft import GraftedDense, occupancy
from knife_jax.nets.initialisers import Init
from knife_jax.nets.wiring import NeuronGroup, Wiring, relu_groups
from knife_jax.plasticity.apply import operate_if_due
from knife_jax.plasticity.base import NeuronStats, PlasticityTransform
from knife_jax.plasticity.stats import neuron_stats
from knife_jax.types import Patient, PyTree, Variables


class Net(nn.Module):
    """ReLU layers and a linear one."""

    widths: tuple[int, ...]
    outputs: int
    init_with: Init
    slots: int = 0
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "R I"]) -> Float[Array, "R Y"]:
        for i, width in enumerate(self.widths):
            layer = GraftedDense(
                width, self.init_with, self.slots, layer_norm=self.layer_norm, name=f"hidden{i}"
            )
            x = cast(Array, layer(x))
        return nn.Dense(self.outputs, kernel_init=self.init_with.dense, name="head")(x)

    def wiring(self) -> Wiring:
        """Which layer reads which: what a plasticity method has to know of a network."""
        names = [*(f"hidden{i}" for i in range(len(self.widths))), "head"]
        columns = self.init_with.columns
        layers = [
            NeuronGroup(name, width, columns, (reader,))
            for name, width, reader in zip(names, self.widths, names[1:], strict=False)
        ]
        return (*layers, NeuronGroup("head", self.outputs, columns, kind="head"))


class Treatment(NamedTuple):
    """A network and what keeps it plastic."""

    net: Net
    method: PlasticityTransform
    optimiser: optax.GradientTransformation


class Outcome(NamedTuple):
    """One network at the end of each phase, in JAX or NumPy."""

    loss: Float[Any, "F"]
    """mean squared error over the variance of the targets"""
    jump: Float[Any, "F"]
    """largest change of an output by the surgery after the phase; targets have variance 1"""
    dead_pct: Float[Any, "F"]
    """hidden neurons that are 0 on every row"""
    slots_used: Float[Any, "F"]
    """graft slots in use per hidden neuron"""


def run(
    treatment: Treatment,
    x: Float[Array, "R I"],
    targets: Float[Array, "F R Y"],
    steps: int,
    key: PRNGKeyArray,
    prepare: Callable[[Variables], Variables] = lambda variables: variables,
) -> Outcome:
    """Train for ``steps`` full-batch updates on each target in turn; each switch is a task switch.

    Surgery that came due during a phase is done at its end, unless the method acts continually.
    ``prepare`` may alter the network before the first step. To be vmapped over keys, and targets.
    """
    net, method, _ = treatment
    groups = relu_groups(net.wiring())
    optimiser = method.extras.optimiser(treatment.optimiser)
    continual = method.claims.continual

    def forward(variables: Variables, x):
        y, sown = net.apply(variables, x, mutable="intermediates")
        return y, {g.name: sown["intermediates"][g.name]["activation"][0] for g in groups}

    def error(trained: PyTree, frozen: Variables, y):
        out, h = forward({**frozen, **trained}, x)
        return jnp.mean(jnp.square(out - y)), h

    def update(patient: Patient, y) -> tuple[Patient, NeuronStats]:
        trained = {"params": patient.online["params"]}
        if "sensitivity" in method.extras.needs:
            shapes = {g.name: jnp.zeros((x.shape[0], g.width)) for g in groups}
            trained["perturbations"] = {n: {"pre_activation": z} for n, z in shapes.items()}
        grads, h = jax.grad(error, has_aux=True)(trained, patient.online, y)
        felt = grads.get("perturbations", {})
        stats = neuron_stats(
            groups, trained["params"], grads["params"],
            {name: jnp.mean(jnp.abs(value), axis=0) for name, value in h.items()},
            {name: jnp.mean(jnp.abs(z["pre_activation"]), axis=0) for name, z in felt.items()},
            method.extras.needs,
        )  # fmt: skip
        moves, opt_state = optimiser.update(grads["params"], patient.opt_state, trained["params"])
        params = optax.apply_updates(trained["params"], moves)
        online = {**patient.online, "params": params}
        return Patient(online, online, opt_state), stats

    def phase(carry, now):
        y, phase_key = now

        def step(carry, key):
            patient, measured, clock = carry
            patient, stats = update(patient, y)
            after = clock._replace(updates=clock.updates + 1, rounds=clock.rounds + 1)
            measured = method.measure(measured, stats, after)
            if continual:
                patient, measured, _ = operate_if_due(method, patient, measured, clock, after, key)
            return (patient, measured, after), None

        *keys, last = jax.random.split(phase_key, steps + 1)
        (patient, measured, clock), _ = jax.lax.scan(step, carry, jnp.stack(keys))
        out, h = forward(patient.online, x)
        before = clock if continual else carry[2]
        after = clock._replace(task=clock.task + 1, task_since=clock.updates)
        patient, measured, _ = operate_if_due(method, patient, measured, before, after, last)
        dead = jnp.concatenate([jnp.all(value == 0, axis=0) for value in h.values()])
        used = occupancy(patient.online["grafts"], net.slots).slots_used
        seen = Outcome(
            loss=jnp.mean(jnp.square(out - y)) / jnp.var(y),
            jump=jnp.max(jnp.abs(forward(patient.online, x)[0] - out)),
            dead_pct=100.0 * jnp.mean(dead),
            slots_used=used / dead.size,
        )
        return (patient, measured, after), seen

    init_key, phases_key = jax.random.split(key)
    made = net.init(init_key, x)
    online = prepare({"params": made["params"], "grafts": made.get("grafts", {})})
    patient = Patient(online, online, optimiser.init(online["params"]))
    begin = (patient, method.init(online), Clock.zero())
    return jax.lax.scan(phase, begin, (targets, jax.random.split(phases_key, len(targets))))[1]
