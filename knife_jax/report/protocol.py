"""What a study asked before its runs, answered from their differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from knife_jax.config.protocol import Protocol
from knife_jax.console.messages import listed
from knife_jax.records.reading import read_config
from knife_jax.report.runs import Run

ProtocolOf = Callable[[str], Mapping[str, Any] | None]
"""the name of a study -> the protocol that its file has now; None if it has none"""

Verdict = Literal["above", "below", "inside", "undecided"]


def verdict(interval: Sequence[float] | None, smallest: float) -> Verdict:
    """What an interval of a difference tells, if differences below ``smallest`` do not matter.

    ``inside`` if it lies within ±smallest, even if it does not reach 0; else ``above`` or ``below``
    if it does not; else nothing.
    """
    if interval is None:
        return "undecided"
    low, high = interval
    if -smallest < low and high < smallest:
        return "inside"
    return "above" if low > 0 else "below" if high < 0 else "undecided"


def answers(
    asked: Protocol, pairs: Sequence[Mapping[str, Any]], later: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Each question with its outcome and the reading of it, as JSON.

    ``pairs`` are the differences, ``later`` what ``added`` says. Without both methods there is no
    outcome.
    """
    found = {(pair["method"], pair["against"]): pair for pair in pairs if pair["seeds"]}
    out = []
    for name, question in asked.asked().items():
        answer = {"name": name, **question._asdict(), "added": later.get(name)}
        pair = found.get((question.method, question.against))
        if pair is not None:
            outcome = verdict(pair["difference"]["interval"], asked.smallest_effect)
            answer |= {"outcome": outcome, "reading": getattr(question, outcome)}
            answer |= {"difference": pair["difference"], "seeds": len(pair["seeds"])}
        out.append(answer)
    return out


def began_with(runs: Sequence[Run]) -> dict[str, Mapping[str, Any]]:
    """Run directories -> the protocol that each began with; empty if it had none."""
    folders = [folder for run in runs for folder in run.folders]
    configs = {folder.name: read_config(folder) for folder in folders}
    return {name: (c.get("experiment") or {}).get("protocol") or {} for name, c in configs.items()}


def present(
    runs: Sequence[Run], protocol_of: ProtocolOf, began: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """The protocol of the study that the runs are of: of its file, else what a run began with."""
    name = (runs[0].config.get("experiment") or {}).get("name", "none")
    return protocol_of(name) or next(filter(None, began.values()), None)


def added(now: Mapping[str, Any], began: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Questions that some run began without, in these very words -> the names of these runs."""
    out = dict[str, str]()
    for name, question in now["questions"].items():
        without = [
            r for r, then in began.items() if then.get("questions", {}).get(name) != question
        ]
        if question is not None and without:
            out[name] = listed(without)
    return out


def changes(now: Mapping[str, Any], began: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for whatever else of the protocol is not as it was when the runs began."""
    for name in Protocol._fields[:-1]:
        other = {run: then.get(name) for run, then in began.items() if then}
        other = {run: then for run, then in other.items() if then != now[name]}
        if other:
            then = " and ".join(dict.fromkeys(map(str, other.values())))
            yield f"protocol: {name}={now[name]}, when {listed([*other])} began it was {then}"
    asked = {name for then in began.values() for name in then.get("questions", {})}
    if dropped := sorted(asked - {*now["questions"]}):
        yield f"protocol: runs began with questions that it has no longer: {listed(dropped)}"
