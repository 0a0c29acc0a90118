"""JaxMARL's environments by their own names. Free of jax."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from knife_jax.config.env import EnvConfig
from knife_jax.config.schema import ConfigError, Named, choice, shown

COOPERATIVE = {
    "MPE_simple_v3": "mpe:SimpleMPE",
    "MPE_simple_spread_v3": "mpe:SimpleSpreadMPE",
    "MPE_simple_speaker_listener_v4": "mpe:SimpleSpeakerListenerMPE",
    "MPE_simple_reference_v3": "mpe:SimpleReferenceMPE",
    "switch_riddle": "switch_riddle:SwitchRiddle",
    "HeuristicEnemySMAX": "smax:HeuristicEnemySMAX",
    "hanabi": "hanabi:Hanabi",
    "overcooked": "overcooked:Overcooked",
    "overcooked_v2": "overcooked_v2:OvercookedV2",
}
"""``jaxmarl.make``'s names -> the package in ``jaxmarl.environments`` and the class in it"""

TEAMS = "its agents play against each other"
CONTINUOUS = "its actions are continuous"
REFUSED = {
    "SMAX": f"{TEAMS}; HeuristicEnemySMAX has the scripted enemy",
    "LearnedPolicyEnemySMAX": "its enemy is a network that would have to be given",
    "MPE_simple_tag_v3": f"{TEAMS}; env=mpe_predator_prey has scripted prey",
    "MPE_simple_world_comm_v3": TEAMS,
    "MPE_simple_crypto_v3": TEAMS,
    "MPE_simple_push_v3": TEAMS,
    "MPE_simple_adversary_v3": TEAMS,
    **{
        f"MPE_simple_facmac_{form}v1": f"{CONTINUOUS}, and its prey is an agent; "
        "env=mpe_predator_prey has its rules with discrete actions"
        for form in ("", "3a_", "6a_", "9a_")
    },
    **dict.fromkeys(
        ("ant_4x2", "halfcheetah_6x1", "hopper_3x1", "humanoid_9|8", "walker2d_2x3"), CONTINUOUS
    ),
    **dict.fromkeys(
        ("storm", "storm_2p", "storm_np", "coin_game"), "each agent has a reward of its own to seek"
    ),
    "jaxnav": "each agent has a goal and an end of its own",
    **{
        f"JaxRobotarium_{name}": "it is a package of its own; write an env.target for env=custom"
        for name in (
            "navigation", "discovery", "material_transport", "warehouse", "arctic_transport",
            "foraging", "rware", "predator_prey",
        )
    },
}  # fmt: skip
"""its other names -> why they are refused"""


@dataclass(frozen=True, kw_only=True)
class JaxmarlConfig(EnvConfig):
    """A cooperative environment of JaxMARL with discrete actions."""

    name: Annotated[str, choice("jaxmarl"), "label"] = "jaxmarl"
    id: Annotated[str, choice(*COOPERATIVE), "JaxMARL's name of it"] = "MPE_simple_spread_v3"
    args: Annotated[Named, "arguments of JaxMARL's class: env.args.NAME=VALUE"] = field(
        default_factory=dict
    )
    reward: Annotated[
        str | None,
        choice("sum", "mean", "first"),
        "the team's, of its agents' rewards; null = as JaxMARL's QMIX: that of the first in SMAX, "
        "Overcooked and Hanabi, where all get the same, else the sum",
    ] = None

    def __post_init__(self) -> None:
        if (why := REFUSED.get(self.id)) is not None:
            raise ConfigError(f"env.id={shown(self.id)} is refused: {why}")
        super().__post_init__()

    def title(self) -> str:
        words = [f"{name}={shown(value)}" for name, value in self.args.items()]
        return " ".join([self.name, self.id, *words])
