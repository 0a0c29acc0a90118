"""Methods compared in pairs, on the seeds that both have: a seed has the same tasks with both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan
from typing import Any

from knife_jax.config.protocol import Question
from knife_jax.report import continual
from knife_jax.report.measures import Compared, Values, scored
from knife_jax.report.stats import Estimate, probability

DIGITS = 6
"""after the decimal point"""
PLAIN = "none"
"""the method that only trains, with which every other one is compared"""


def differences(
    compared: Compared, primary: str, questions: Sequence[Question]
) -> list[dict[str, Any]]:
    """The primary measure of each method less that of ``none``, and of each pair that questions
    name, as JSON: with intervals, and the probability that the first has the higher score."""
    out = list[dict[str, Any]]()
    for method, against in _pairs([*compared.courses], questions):
        ours, theirs = continual.shared(compared.courses[method], compared.courses[against])
        pair = {"method": method, "against": against, "seeds": ours.seeds.tolist()}
        if pair["seeds"]:
            a, b = scored(ours)[primary], scored(theirs)[primary]
            pair |= {
                "difference": as_json(Values(a, b)),
                "probability": as_shown(probability(a, b)),
            }
        out.append(pair)
    return out


def _pairs(methods: Sequence[str], questions: Sequence[Question]) -> Iterator[tuple[str, str]]:
    """Each once, those with ``none`` first."""
    plain = [(method, PLAIN) for method in methods if method != PLAIN]
    asked = [(question.method, question.against) for question in questions]
    for pair in dict.fromkeys([*plain, *asked]):
        if {*pair} <= {*methods}:
            yield pair


def as_json(values: Values) -> dict[str, Any]:
    """A measure with its interval, and that of one further seed; None with a single seed."""
    return as_shown(values.estimate()) | {"further": _ends(*values.prediction())}


def as_shown(estimate: Estimate) -> dict[str, Any]:
    """A statistic with its interval."""
    value, low, high = map(float, estimate)
    return {"iqm": round(value, DIGITS), "interval": _ends(low, high)}


def _ends(low: float, high: float) -> list[float] | None:
    return None if isnan(low) else [round(low, DIGITS), round(high, DIGITS)]
