"""What will not happen within the budget, known before anything is compiled."""

from __future__ import annotations

from knife_jax.clock import Clock
from knife_jax.config.run import Config
from knife_jax.console.messages import warn
from knife_jax.training.budget import Budget


def warn_ahead(budget: Budget, config: Config, clock: Clock) -> None:
    """Warn of what will not happen in a run that stands at the Clock."""
    for text in prospects(budget, config, clock):
        warn(text)


def prospects(budget: Budget, config: Config, clock: Clock) -> list[str]:
    """What will not happen, one line each."""
    out = []
    rounds, since = int(clock.rounds), int(clock.replay_since)
    if rounds < budget.rounds and not budget.updates_from(rounds, since):
        out.append(_nothing_learnt(budget, config, budget.rounds - max(rounds, since)))
    elif rounds == 0:
        out += _never_acts(budget, config)
    if budget.task_steps and budget.task_steps < budget.round_steps:
        out.append(
            f"env.steps_per_task={budget.task_steps} is less than a round of "
            f"{budget.round_steps:,} env steps: each task takes one round"
        )
    return out


def _nothing_learnt(budget: Budget, config: Config, left: int) -> str:
    starts = f"algo.learning_starts={config.algo.learning_starts}"
    if budget.clear_replay and budget.waits <= left:
        when = "in any task, since env.clear_replay=true empties the replay at each"
        when += f" (env.steps_per_task={budget.task_steps})"
    else:
        when = f"with {left * budget.round_steps:,} env steps to go (env_steps={config.env_steps})"
    return f"{starts} is not reached {when}: no gradient step is made, nothing is learnt"


def _never_acts(budget: Budget, config: Config) -> list[str]:
    """Why the method of a run is without effect, if it is."""
    method, idle = config.plasticity, max(budget.waits - 1, 0)
    within = f"within env_steps={config.env_steps}"
    moment, schedule = "", method.schedule()
    if schedule is not None and schedule.once is not None:
        if not idle * budget.round_steps < schedule.once <= budget.env_steps:
            moment = f"plasticity.at={schedule.once} is not after the first gradient step {within}"
    elif schedule is not None:
        apart = max(schedule.interval, budget.round_steps)
        first, last = (n * budget.round_steps // apart for n in (idle, budget.rounds))
        switched = schedule.at_task_switch and budget.task(budget.rounds - 1) > 0
        if not switched and not (schedule.interval and last > first):
            moment = f"plasticity.interval={schedule.interval} gives no moment {within}"
            if config.env.sequence() is not None:
                switch = str(schedule.at_task_switch).lower()
                moment += f", and plasticity.at_task_switch={switch} none either"
    arguments = method.arguments()
    measured = "maturity" if arguments.get("maturity") else "window"
    needed, made = arguments.get(measured, 0), budget.updates_from()
    if not moment and needed > made:
        moment = f"plasticity.{measured}={needed} is more than the {made} gradient steps {within}"
    return [f"{moment}: {method.name} never acts"] * bool(moment)
