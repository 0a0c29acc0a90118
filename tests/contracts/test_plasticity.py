"""What every plasticity method must keep, with every optimiser, on agent and mixer at once."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ladder.environments import MEMORY
from tiny import KNIFE, tiny_config

from knife_jax.build import make_trainer
from knife_jax.chunk import init
from knife_jax.envs.base import vectorise
from knife_jax.nets.wiring import NeuronGroup, layer
from knife_jax.rollout import rollout
from knife_jax.types import Clock

WINDOW, SLOTS = 3, 2

METHODS = {
    "none": {"name": "none", "method": "none"},
    "knife": {**KNIFE, "window": WINDOW, "slots": SLOTS, "threshold": 0.9},
    "knife_random": {
        **KNIFE, "select": "random", "window": WINDOW, "slots": SLOTS, "threshold": 0.9,
    },
}  # fmt: skip
OPTIMISERS = {
    "adam": {"optimiser": "adam"},
    "clip+radam": {"optimiser": "radam", "grad_clip": 0.01},
    "rmsprop": {"optimiser": "rmsprop"},
    "adamw": {"optimiser": "adamw", "weight_decay": 0.1},
}


CASES = [("knife", name) for name in OPTIMISERS] + [("none", "adam"), ("knife_random", "adam")]
"""the methods share their rewrite, so one of them is tried with every optimiser"""


@pytest.mark.parametrize(("method", "optimiser"), CASES)
def test_the_contract(method, optimiser):
    method, optimiser = METHODS[method], OPTIMISERS[optimiser]
    trainer = make_trainer(tiny_config(plasticity=method, **optimiser), vectorise(MEMORY.env, 7))
    plasticity, learner = trainer.plasticity, trainer.learner

    @jax.jit
    def begin(key):
        state = init(trainer, key)
        return state, rollout(
            trainer.env, learner.act, state.patient.online, state.actor, jnp.asarray(0.3),
            jnp.asarray(0), key, 23,
        )[1]  # fmt: skip

    @jax.jit
    def life(patient, measured, batch, open_slots, key):
        """Some updates, then surgery; the values around it."""

        def update(carry, _):
            patient, probes, _ = learner.update(carry[0], batch, Clock.zero(), open_slots)
            return (patient, plasticity.measure(carry[1], probes)), None

        (patient, measured), _ = jax.lax.scan(update, (patient, measured), None, WINDOW)
        before = learner.values(patient.online, batch, open_slots)
        operated, forgotten, report = plasticity.operate(patient, measured, key)
        after = learner.values(operated.online, batch, open_slots)
        return patient, operated, forgotten, report, before, after

    state, batch = begin(jax.random.key(1))
    patient, measured, units = state.patient, state.plasticity, 0
    for times in range(1, SLOTS + 2):
        frozen = patient.online["grafts"]
        trained, operated, measured, report, before, after = life(
            patient, measured, batch, min(times, SLOTS), jax.random.key(times)
        )
        # the optimiser leaves frozen entries alone, and surgery the function
        jax.tree.map(np.testing.assert_array_equal, frozen, trained.online["grafts"])
        jax.tree.map(np.testing.assert_array_equal, before, after)
        check_moments(trained, operated, trainer)
        for old, new in zip(*map(jax.tree.leaves, (patient, operated)), strict=True):
            assert (old.shape, old.dtype, old.weak_type) == (new.shape, new.dtype, new.weak_type)
            assert jnp.all(jnp.isfinite(new))
        patient, units = operated, units + int(report.units_operated)
    assert life._cache_size() == 1
    assert (units > 0) == (method["method"] != "none")


def check_moments(trained, operated, trainer):
    """Moments are changed exactly on the entries that surgery drew anew."""
    if not trainer.slots:
        jax.tree.map(np.testing.assert_array_equal, trained, operated)
        return
    for name in ("agent/encoder", "mixer/w1_hidden", "mixer/w2_hidden", "mixer/v_hidden"):
        at = partial(layer, group=NeuronGroup(name, 0, None))
        used = at(operated.online["grafts"])["used"] - at(trained.online["grafts"])["used"]
        new = np.asarray(used, bool)
        old_kernel, kernel = (at(p.online["params"])["kernel"] for p in (trained, operated))
        np.testing.assert_array_equal(np.any(kernel != old_kernel, axis=0), new)
        leaves = zip(*map(moments(name), (trained, operated)), strict=True)
        for (path, then), (_, now) in leaves:
            np.testing.assert_array_equal(now[..., ~new], then[..., ~new])
            if "nu" in path and not new.all():
                mean = np.mean(then[..., ~new], axis=-1, keepdims=True)
                expected = np.broadcast_to(mean, now[..., new].shape)
                np.testing.assert_allclose(now[..., new], expected, rtol=1e-4)
            elif "nu" not in path:
                np.testing.assert_array_equal(now[..., new], 0)


def moments(name):
    """The optimiser's moments of a layer, with the names on their paths."""

    def of(patient):
        found = []
        for path, leaf in jax.tree_util.tree_leaves_with_path(patient.opt_state):
            words = [getattr(k, "key", getattr(k, "name", None)) for k in path]
            if "/".join(str(w) for w in words if w).find(f"{name}/") >= 0:
                found.append((words, np.asarray(leaf)))
        assert found
        return found

    return of
