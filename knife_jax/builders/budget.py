"""The budget of a config."""

from __future__ import annotations

from knife_jax.clock import NEVER, rounds_of
from knife_jax.config.run import Config
from knife_jax.config.schema import ConfigError
from knife_jax.training.budget import Budget


def make_budget(config: Config, round_steps: int) -> Budget:
    """The budget of a config, met to within one round.

    Raises ``ConfigError`` where the Clock cannot count so far.
    """
    algo, sequence = config.algo, config.env.sequence()
    budget = Budget(
        round_steps=round_steps,
        rounds=-(-config.env_steps // round_steps),
        waits=rounds_of(algo.learning_starts, round_steps),
        updates=algo.updates_per_round,
        task_steps=sequence and sequence.steps_per_task,
        clear_replay=sequence is not None and sequence.clear_replay,
    )
    if budget.env_steps > (largest := budget.largest()):
        raise ConfigError(
            f"env_steps={config.env_steps} is refused: must be at most {largest}, since rounds of "
            f"{round_steps} env steps and gradient steps are counted up to {NEVER - 1}"
        )
    return budget
