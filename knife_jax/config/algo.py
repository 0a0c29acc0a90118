"""The section ``algo`` of a configuration: networks, targets, data and exploration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from knife_jax.config.mixers import MIXERS
from knife_jax.config.schema import (
    ConfigError,
    Count,
    Few,
    Fraction,
    Positive,
    PositiveFraction,
    Section,
    Size,
    StepsOrZero,
    at_least,
    choice,
    key_of,
    word,
)


@dataclass(frozen=True, kw_only=True)
class AlgoConfig(Section):
    """Networks, targets, data and exploration. The numbers come from a preset. The fields that a
    subclass adds are arguments of its mixer's maker."""

    section: ClassVar[str] = "algo"
    name: Annotated[str, word(), "label"]
    preset: Annotated[str, word(), "label"] = "custom"
    mixer: Annotated[str, key_of(MIXERS), "label"] = "qmix"
    hidden: Annotated[Count, "width of the agent network"] = 64
    encoder_layers: Annotated[Few, "ReLU layers of the agent network before its GRU"] = 1
    layer_norm: Annotated[bool, "layer normalisation before every ReLU, mixer included"] = False
    embed: Annotated[Count, "width of the mixing layer, if there is one"] = 32
    hyper_hidden: Annotated[Count, "hidden width of the hypernetworks, if there are any"] = 64
    init: Annotated[str, choice("torch", "orthogonal"), "initial weights"] = "torch"
    hyper_init_scale: Annotated[Positive, "scale of the hypernetworks' initial weights"] = 1.0
    agent_id: Annotated[bool, "agents see who they are"] = True
    last_action: Annotated[bool, "agents see their own last action"] = True
    optimiser: Annotated[str, choice("adam", "radam", "rmsprop", "adamw"), "gradient steps"] = (
        "adam"
    )
    lr: Annotated[Positive, "learning rate"]
    lr_decay: Annotated[bool, "learning rate falls to 0 over the budget"] = False
    eps: Annotated[Positive, "epsilon of the optimiser"]
    weight_decay: Annotated[float, at_least(0), "adamw only"] = 0.0
    grad_clip: Annotated[Positive, "largest global norm of a gradient"] = 10.0
    mask_dead: Annotated[
        bool,
        "an agent with a single available action, like a dead one in SMAX, counts as 0 in the "
        "mixer, as in XuanCe; false: as whatever its network says, as in PyMARL and its relatives",
    ] = False
    gamma: Annotated[Fraction, "discount"] = 0.99
    reward_scale: Annotated[Positive, "rewards are learnt times this"] = 1.0
    returns: Annotated[
        str,
        choice("td_lambda", "q_lambda", "n_step"),
        "what is learnt: TD(λ), which is Peng's Q(λ) as it bootstraps from greedy actions; Q(λ) "
        "corrected for actions that were not greedy (Harutyunyan et al. 2016); or n steps",
    ] = "td_lambda"
    td_lambda: Annotated[Fraction, "λ: 0 = one-step targets, 1 = returns"]
    n_steps: Annotated[Few, "with returns=n_step"] = 3
    double_q: Annotated[bool, "the online network chooses the target's action"] = True
    data: Annotated[
        str,
        choice("windows", "episodes", "rollouts"),
        "windows or whole episodes of a replay; or no replay: each round learns in epochs from the "
        "windows that it has just played (PQN, Gallici et al. 2025)",
    ] = "windows"
    window: Annotated[Count, "time steps in a window"] = 32
    memory_window: Annotated[
        Size,
        "with data=rollouts: last steps of the round before, put before each window to warm up "
        "the GRU's state and learnt from again; at most window",
    ] = 0
    batch_size: Annotated[Count, "windows or episodes in a batch"]
    buffer_size: Annotated[Count, "windows or episodes in the replay, if there is one"]
    updates_per_round: Annotated[
        Count,
        "gradient steps per window or episode of all n_envs; with data=rollouts, "
        "n_envs / batch_size of them are an epoch",
    ]
    learning_starts: Annotated[StepsOrZero, "env steps before the first update"]
    target_period: Annotated[
        Count, "updates between target network syncs; 1 (with tau=1) = no target network"
    ]
    tau: Annotated[PositiveFraction, "fraction of the online weights taken; 1 = copy"] = 1.0
    epsilon_start: Annotated[Fraction, "exploration at the start"] = 1.0
    epsilon_end: Annotated[Fraction, "exploration at the end"] = 0.05
    epsilon_steps: Annotated[StepsOrZero, "env steps from start to end"]

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of the mixer's maker."""
        return self.beyond(AlgoConfig)

    @property
    def memory(self) -> int:
        """Steps of the round before in each window."""
        return self.memory_window if self.data == "rollouts" else 0

    def stored(self, n_envs: int) -> int:
        """The windows or episodes that are held, of so many environments."""
        return n_envs if self.data == "rollouts" else max(self.buffer_size, n_envs)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data != "rollouts" and self.buffer_size < self.batch_size:
            raise ConfigError(
                f"algo.buffer_size={self.buffer_size} is refused: "
                f"must be at least algo.batch_size={self.batch_size}"
            )
        if self.memory > self.window:
            raise ConfigError(
                f"algo.memory_window={self.memory} is refused: "
                f"must be at most algo.window={self.window}"
            )
        if self.mask_dead and self.mixer == "iql":
            raise ConfigError(
                "algo.mask_dead=true is refused: must be false with algo.mixer=iql, "
                "which mixes no values"
            )
        if self.weight_decay > 0 and self.optimiser != "adamw":
            raise ConfigError(
                f"algo.weight_decay={self.weight_decay} is refused: "
                f"must be 0 unless algo.optimiser=adamw (it is {self.optimiser})"
            )
