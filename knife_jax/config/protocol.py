"""What a study asks, and how each answer is read, written down before its runs. Free of jax.

It stands in ``experiment.protocol`` of ``configs/experiment/NAME.yaml``. Each run keeps it in its
``config.yaml`` as it was when the run began; nothing that is trained depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from knife_jax.config.schema import (
    Allowed,
    ConfigError,
    Count,
    Named,
    Positive,
    choice,
    converted,
    fields_of,
    suggestion,
)

SECTION = "experiment.protocol"
Text = Annotated[str, Allowed("not empty", lambda x: bool(x.strip()))]


class Question(NamedTuple):
    """Whether one method scores above another, asked so that "above" is a yes.

    The readings are those of the four outcomes: see ``report.protocol.verdict``.
    """

    asks: Annotated[Text, "the question in words"]
    method: Annotated[Text, "the plasticity method it is about"]
    against: Annotated[Text, "the one that it is compared with"]
    above: Annotated[Text, "what it means if the method scores higher"]
    below: Annotated[Text, "what it means if it scores lower"]
    inside: Annotated[Text, "what it means if the two differ by less than the smallest effect"]
    undecided: Annotated[Text, "what it means if none of these can be told"]


class Protocol(NamedTuple):
    """How a study decides."""

    primary: Annotated[
        str, choice("late_score", "score", "area"), "the measure that questions are about"
    ]
    drawings: Annotated[Count, "seeds of each method, with tasks of their own each"]
    smallest_effect: Annotated[Positive, "differences below it do not matter; the scale is 0 to 1"]
    exclusion: Annotated[Text, "which runs and seeds are left out, in words"]
    questions: Annotated[Named, "name -> question; null = one of another study, not asked here"]

    def asked(self) -> dict[str, Question]:
        """The questions by name."""
        return {
            name: _read(Question, values, f"{SECTION}.questions.{name}")
            for name, values in self.questions.items()
            if values is not None
        }


def protocol(values: Mapping[str, Any]) -> Protocol:
    """The protocol that plain dictionaries spell, with every key checked.

    Raises ``ConfigError`` for a key that is unknown or missing and for a value not allowed.
    """
    read = _read(Protocol, values, SECTION)
    read.asked()
    return read


def _read(kind: Any, values: Any, prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix} is refused: must have {', '.join(fields_of(kind))}")
    fields = fields_of(kind)
    for name in values:
        if name not in fields:
            near = suggestion(name, fields) or f"; {prefix} has {', '.join(fields)}"
            raise ConfigError(f"unknown key '{prefix}.{name}'{near}")
    for name in fields:
        if name not in values:
            raise ConfigError(f"{prefix}.{name} is not set: the protocol must say it")
    given = {name: converted(values[name], fields[name], f"{prefix}.{name}") for name in fields}
    return kind(**given)
