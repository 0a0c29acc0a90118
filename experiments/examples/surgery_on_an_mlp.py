"""Surgery on an MLP of your own, without the trainer.

    python experiments/examples/surgery_on_an_mlp.py

Random labels are memorised, task after task, without surgery and with ReDo.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from knife_jax import plasticity as p

WIDTH, TASKS, STEPS = 64, 12, 200
init, optimiser = p.torch_init(), optax.adam(2e-2)
hidden = {"first": "second", "second": "out"}  # layer of hidden neurons -> the layer that reads it
wiring = tuple(p.NeuronGroup(k, WIDTH, init.columns, outgoing=(v,)) for k, v in hidden.items())


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        activation = {}
        for name in hidden:
            x = nn.relu(nn.Dense(WIDTH, kernel_init=init.dense, name=name)(x))
            activation[name] = jnp.mean(x, axis=0)
        return nn.Dense(1, name="out")(x)[:, 0], activation


def loss_after_each_task(method):
    def loss_of(params, x, y):
        out, activation = MLP().apply({"params": params}, x)
        return jnp.mean((out - y) ** 2), activation

    @jax.jit
    def update(patient, state, clock, x, y, key):
        params, after = patient.online["params"], clock._replace(updates=clock.updates + 1)
        (loss, seen), grads = jax.value_and_grad(loss_of, has_aux=True)(params, x, y)
        change, opt_state = optimiser.update(grads, patient.opt_state)
        patient = p.Patient({"params": optax.apply_updates(params, change)}, {}, opt_state)
        stats = p.neuron_stats(wiring, params, grads, seen)
        patient, state, _ = p.step(method, patient, state, stats, clock, after, key)
        return patient, state, after, loss

    online = dict(MLP().init(jax.random.key(0), jnp.zeros((1, 16))))
    patient = p.Patient(online, {}, optimiser.init(online["params"]))  # {}: no target network
    state, clock, loss = method.init(online), p.Clock.zero(), jnp.inf
    for task_key in jax.random.split(jax.random.key(1), TASKS):
        inputs, labels, *keys = jax.random.split(task_key, 2 + STEPS)
        x, y = jax.random.normal(inputs, (128, 16)), jax.random.normal(labels, (128,))
        for key in keys:
            patient, state, clock, loss = update(patient, state, clock, x, y, key)
        yield float(loss)


for name, when in {"no surgery": p.never, "ReDo": p.every_updates(STEPS)}.items():
    first, *_, last = loss_after_each_task(p.redo(wiring, when=when))
    print(f"{name}: loss {first:.1g} after the first task, {last:.1g} after the last")
