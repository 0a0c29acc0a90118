"""What the section ``env`` of a configuration has whatever the environment is. Free of jax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

from knife_jax.config.schema import Count, Section, Size, Steps, at_least, at_most, choice, word


@dataclass(frozen=True, kw_only=True)
class EnvConfig(Section):
    """What every environment has. The fields that a subclass adds are its maker's arguments."""

    section: ClassVar[str] = "env"
    name: Annotated[str, word(), "label"]
    n_envs: Annotated[Count, "environments stepped together"]

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of the environment's maker."""
        return self.beyond(EnvConfig)

    def sequence(self) -> SequenceConfig | None:
        """When the tasks change, and what changes with them; None if there is one task."""
        return None

    def check_run(self, run: Any) -> None:
        """Raise ``ConfigError`` for what this environment cannot do in a run (``Config``)."""

    def check_installed(self) -> None:
        """Raise ``ConfigError`` if what it needs is not on this machine."""

    def module(self) -> str | None:
        """The module of the user's own code that it is made by; None if the package makes it."""
        return None

    def title(self) -> str:
        """The environment in a few words."""
        return self.name


@dataclass(frozen=True, kw_only=True)
class SequenceConfig(EnvConfig):
    """Tasks trained one after the other; after the last comes the first, until env_steps."""

    n_tasks: Annotated[int, at_least(1), at_most(10_000), "different tasks"]
    steps_per_task: Annotated[Steps, "env steps before the next task"]
    order: Annotated[str, choice("fixed", "shuffled"), "order of the tasks"] = "fixed"
    task_seed: Annotated[Size, "draws the tasks, and their order if it is shuffled"] = 0
    drawing: Annotated[
        str,
        choice("shared", "per_seed"),
        "all seeds meet the same tasks, or each its own, drawn from task_seed and the seed",
    ] = "shared"
    clear_replay: Annotated[bool, "the replay is emptied at a switch"] = False
    restart_epsilon: Annotated[bool, "exploration starts anew with each task"] = True
    restart_optimiser: Annotated[bool, "the optimiser starts anew with each task"] = False

    def arguments(self) -> dict[str, Any]:
        """The subclass's own fields, and ``n_tasks`` and ``task_seed``."""
        own = self.beyond(SequenceConfig)
        return {**own, "n_tasks": self.n_tasks, "task_seed": self.task_seed}

    def sequence(self) -> SequenceConfig | None:
        """The section itself."""
        return self

    def title(self) -> str:
        """The kind of sequence, and how many tasks it has."""
        return f"{self.name}, {self.n_tasks} tasks"


class Case(NamedTuple):
    """What the contract test tries an environment with, and what then holds."""

    fields: Mapping[str, Any] = {}
    """of the section, ``n_envs`` apart"""
    starts_differ: bool = True
    """no two episodes begin with the same observation"""
    same_length: bool = True
    """all episodes last to the horizon"""


class Entry(NamedTuple):
    """An environment of the table ``ENVS``."""

    config: type[EnvConfig]
    """its section"""
    make: str
    """``"module:function"``: (``**config.arguments()``) -> ``envs.tasks.Tasks``"""
    cases: tuple[Case, ...] = (Case(),)
    """none if it cannot be tried without what must be installed first"""
    preset: str | None = None
    """what it is trained with if no preset is chosen; None = ``configs/train.yaml``'s"""
