"""Three seeds on three devices and on one, in a process of its own: they learn the same.

Not the same bits, since one device multiplies the matrices of all seeds in one batch: rounding
differs, and with it the last digits. What the agents see and do is the same, number for number.
"""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
from ladder.environments import MEMORY
from tiny import KNIFE, tiny_config
from two_shards import collectives

from knife_jax.builders.program import build_in
from knife_jax.envs.base import vectorise
from knife_jax.parallel import devices

CHUNKS = 3
COMPILED = "/jax/core/compile/backend_compile_duration"


def trained(n_devices: int):
    """The state and the metrics after a few chunks, how often was compiled, and the program."""
    config = replace(tiny_config(mixer="vdn", seeds=3, plasticity=KNIFE), devices=n_devices)
    program = build_in(partial(vectorise, MEMORY.env), config)
    assert program.mesh == {"seed": n_devices, "data": 1}
    begun = program.init(range(3))
    for leaf in jax.tree.leaves(begun):
        parts = {(part.device.id, part.data.shape[0]) for part in leaf.addressable_shards}
        assert parts == {(n, 3 // n_devices) for n in range(n_devices)}, "seeds begin elsewhere"
    state, clock = program.place(begun, program.clock())
    seen, compiled = [], []
    listener = lambda event, seconds, **_: compiled.append(event)  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listener)
    chunk = program.chunk.lower(state, clock).compile()
    for _ in range(CHUNKS):
        state, clock, metrics = chunk(state, clock)
        seen.append(metrics)
    jax.monitoring.unregister_event_duration_listener(listener)
    return *jax.device_get((state, seen)), compiled.count(COMPILED), chunk.as_text()


def main() -> None:
    devices.begin(3)
    one, three = trained(1), trained(3)
    assert (one[2], three[2]) == (1, 1), "each program is compiled once"
    assert collectives(three[3]) == set(), "seeds do not wait for each other"
    for name in ("obs", "action", "reward", "bits"):
        played = [getattr(state.replay, name) for state, *_ in (one, three)]
        np.testing.assert_array_equal(*played, err_msg=name)
    fired = [[m["surgery"]["units_operated"] for m in seen] for _, seen, *_ in (one, three)]
    np.testing.assert_array_equal(*fired)
    assert np.sum(fired) > 0
    pairs = zip(*(jax.tree.leaves(state.patient) for state, *_ in (one, three)), strict=True)
    apart = max(np.max(np.abs(x - y)) for x, y in pairs)
    assert apart <= 1e-5, apart
    print(f"largest difference in networks and optimiser after {CHUNKS} chunks: {apart:.1e}")


if __name__ == "__main__":
    main()
