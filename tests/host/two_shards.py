"""One seed over two devices, in a process of its own: networks stay the same bits on both.

The shards have environments and replays of their own, and what the run reports is of both.
"""

import re
from functools import partial

import jax
import numpy as np
from ladder.environments import ENDLESS
from tiny import KNIFE, tiny_config

from knife_jax.builders.program import build_in
from knife_jax.envs.base import vectorise
from knife_jax.parallel import devices

STEPS = 2 * 7 * 5
"""env steps of a round"""


def collectives(compiled: str) -> set[str]:
    """What devices exchange in a compiled program."""
    names = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute")
    return {name for name in names if re.search(rf"\b{name}\b", compiled)}


def main() -> None:
    devices.begin(2)
    config = tiny_config(
        n_envs=2 * 7, batch_size=2 * 17, plasticity=KNIFE, log_every=STEPS * 7, mixer="vdn"
    )
    program = build_in(partial(vectorise, ENDLESS.env), config)
    state, clock = program.place(program.init([0]), program.clock())
    chunk = program.chunk.lower(state, clock).compile()
    assert "all-reduce" in collectives(chunk.as_text())
    seen = []
    for _ in range(3):
        state, clock, metrics = chunk(state, clock)
        seen.append(jax.device_get(metrics))
    steps = int(clock.rounds) * STEPS
    assert int(clock.rounds) == 3 * 7 and int(clock.updates) == 3 * (3 * 7 - 1)
    assert sum(m["surgery"]["fired"].sum() for m in seen) == steps // 300
    assert sum(m["surgery"]["units_operated"].sum() for m in seen) > 0
    assert all(np.all(m["surgery"]["churn_max"] == 0) for m in seen)
    horizon = ENDLESS.env.spec.horizon
    episodes = sum(m["train"]["episodes"][0] for m in seen)
    assert abs(episodes - steps / (horizon + 1)) <= 2 * 7
    np.testing.assert_allclose(seen[-1]["train"]["return"], ENDLESS.optimal_return)

    for leaf in jax.tree.leaves((state.patient, state.plasticity, clock)):
        one, other = (np.asarray(shard.data).tobytes() for shard in leaf.addressable_shards)
        assert one == other
    assert state.replay.reward.shape == (1, 2, 5, -(-203 // 14) * 7)
    action = np.asarray(state.replay.action)[0]
    assert not np.array_equal(action[0], action[1])


if __name__ == "__main__":
    main()
