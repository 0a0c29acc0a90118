"""What several studies say together: one family of tasks each, and the questions that they share.

From the ``report.json`` of each study, in folders side by side such as ``experiments/results``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from knife_jax.console import messages
from knife_jax.console.messages import say
from knife_jax.records import directory
from knife_jax.report.differences import as_shown
from knife_jax.report.figure import as_png, looks
from knife_jax.report.measures import late
from knife_jax.report.protocol import verdict
from knife_jax.report.stats import over_families
from knife_jax.report.table import OUTCOMES, SHOWN, cell, grid
from knife_jax.report.write import NUMBERS, stored

TABLE, FIGURE = "families.md", "families.png"
OVER = "over families"


class Shared(NamedTuple):
    """A question that several studies ask of the same two methods."""

    asks: str
    method: str
    against: str
    effect: float
    """the largest of the smallest effects of interest"""
    families: dict[str, Mapping[str, Any]]
    """study -> IQM of the difference and its interval"""
    over: Mapping[str, Any]
    """the same over all of them"""

    def all(self) -> dict[str, Mapping[str, Any]]:
        """Those of each family and of all."""
        return self.families | {OVER: self.over}


def folders_of_studies(folder: Path) -> list[Path]:
    """The folders beside each other that hold the report of a study, at least two; else none."""
    found = sorted(path.parent for path in folder.glob(f"*/{NUMBERS}"))
    return found if len(found) > 1 and not (folder / NUMBERS).exists() else []


def written(at: Sequence[Path], out: Path) -> bool:
    """Write the table and the figure of all questions that studies share into ``out``, and print
    the table. Returns False, after one line that says why, if it cannot be done."""
    try:
        asked = list(questions({folder.name: stored(folder) for folder in at}))
        if not asked:
            raise ValueError("no two of them have answers to the same question")
        content = {TABLE: table(asked).encode(), FIGURE: draw(asked)}
        out.mkdir(parents=True, exist_ok=True)
        for name, of_file in content.items():
            directory.write(out / name, of_file)
    except ValueError as error:
        messages.error(f"no report over {messages.listed([p.name for p in at])}: {error}")
        return False
    except (LookupError, TypeError, AttributeError) as error:
        said = messages.one_line(error)
        messages.error(f"a {NUMBERS} in {at[0].parent} is not what this version writes ({said})")
        return False
    except OSError as error:
        messages.error(f"{error.filename or out} cannot be written: {error.strerror or error}")
        return False
    say(f"{content[TABLE].decode()}\n{out}: {', '.join(content)}")
    return True


def questions(studies: Mapping[str, Mapping[str, Any]]) -> Iterator[Shared]:
    """The questions that at least two studies have answers to, in the order in which they ask.

    Over families the difference is the mean of theirs. Its interval is that of the bootstrap that
    draws seeds within each family apart: other drawings of the same families, not other families.
    Raises ``ValueError`` if a record has not the scores that its primary measure is made of.
    """
    answers = {
        name: {
            (a["name"], a["method"], a["against"]): a for a in report["answers"] if "outcome" in a
        }
        for name, report in studies.items()
    }
    for key in dict.fromkeys(key for of_study in answers.values() for key in of_study):
        found = {name: of_study[key] for name, of_study in answers.items() if key in of_study}
        if len(found) > 1:
            _, method, against = key
            yield Shared(
                next(iter(found.values()))["asks"],
                method,
                against,
                max(studies[name]["protocol"]["smallest_effect"] for name in found),
                {name: answer["difference"] for name, answer in found.items()},
                as_shown(over_families([_pair(studies[name], method, against) for name in found])),
            )


def _pair(report: Mapping[str, Any], method: str, against: str) -> tuple[np.ndarray, np.ndarray]:
    """The scores by seed and task that a difference is made of, of the seeds that both have."""
    ours, theirs = _by_seed(report, method), _by_seed(report, against)
    both = [seed for seed in ours if seed in theirs]
    return np.array([ours[seed] for seed in both]), np.array([theirs[seed] for seed in both])


def _by_seed(report: Mapping[str, Any], method: str) -> dict[int, np.ndarray]:
    if report["primary"] not in ("score", "late_score"):
        raise ValueError(f"a record has no {SHOWN[report['primary']]} by seed")
    ends = np.array(report["courses"][method]["task_end_by_seed"])
    scores = ends[:, late(ends)] if report["primary"] == "late_score" else ends
    return dict(zip(report["methods"][method]["seeds"], scores, strict=True))


def table(asked: Sequence[Shared]) -> str:
    """As Markdown: a row for each question, a column for each family and one over them."""
    families = _families(asked)
    rows = [["question", "difference", *families, OVER]]
    for question in asked:
        cells = [_answer(question, question.all().get(name)) for name in (*families, OVER)]
        rows.append([question.asks, f"`{question.method}` − `{question.against}`", *cells])
    effect = max(question.effect for question in asked)
    about = (
        "Differences of the primary measure of each study, IQM over seeds and tasks, with 95 % "
        f"intervals. Differences below {effect} do not matter. Over families each counts the "
        "same: the mean of their differences; its interval is that of the bootstrap that draws the "
        "drawings of each family apart, and says what other drawings of these families would "
        "change, not other families."
    )
    return f"{about}\n\n{grid(rows, 0)}\n"


def _families(asked: Sequence[Shared]) -> list[str]:
    return list(dict.fromkeys(name for question in asked for name in question.families))


def _answer(question: Shared, measure: Mapping[str, Any] | None) -> str:
    if measure is None:
        return "-"
    outcome = OUTCOMES[verdict(measure["interval"], question.effect)]
    return f"{outcome}: {cell(measure['iqm'], measure['interval'])}"


def draw(asked: Sequence[Shared]) -> bytes:
    """A PNG: for each question the difference in each family and over them with 95 % intervals;
    the smallest effect that matters is shaded."""
    names = [*_families(asked), OVER]
    height = 1.6 + 0.26 * len(names) * len(asked)
    figure = Figure(figsize=(9, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    effect = max(question.effect for question in asked)
    said = f"within ±{effect}: too small to matter"
    axes.axvspan(-effect, effect, color="#d7dbe0", lw=0, zorder=0, label=said)
    axes.axvline(0, color="#555555", lw=0.8, zorder=1)
    colours = [*(look["color"] for look in looks()[: len(names) - 1]), "black"]
    for place, (name, colour) in enumerate(zip(names, colours, strict=True)):
        offset = 0.7 * ((place + 0.5) / len(names) - 0.5)
        there = [(row + offset, q.all()[name]) for row, q in enumerate(asked) if name in q.all()]
        axes.plot(
            [m["iqm"] for _, m in there], [y for y, _ in there], "o", color=colour, label=name
        )
        for y, measure in there:
            if measure["interval"] is not None:
                axes.plot(measure["interval"], [y] * 2, color=colour, lw=2)
    axes.set_yticks(range(len(asked)), [f"{q.method} − {q.against}" for q in asked])
    axes.set_ylim(len(asked) - 0.5, -0.5)
    axes.set_xlabel("difference of the primary measure, on a scale from 0 to 1; 95 % intervals")
    axes.set_title("← the first method is worse          the first method is better →", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return as_png(figure)
