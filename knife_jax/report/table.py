"""The tables and answers of a report as Markdown, from the numbers of ``report.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from knife_jax.report.measures import FRESH
from knife_jax.sinks.format import brief

SHOWN = {
    "score": "score at task end",
    "late_score": "score, last quarter",
    "area": "area",
    "late_gap": "gap, last quarter",
    "gap_slope": "gap per task",
    "recovery_steps": "recovery, env steps",
    "final_stagnant_pct": "stagnant %",
    "final_dormant_pct": "dormant %",
}
"""measure -> its column; further ones are in ``report.json`` alone"""
KEPT = {
    "forward_transfer": "forward transfer",
    "zero_shot": "score before training",
    "backward_transfer": "backward transfer",
    "forgotten": "forgetting",
    "return_score": "score on return",
    "return_gain": "area on return, less the first",
}
"""the same in the table of what is kept"""
SURGERY = {"churn_max": "largest churn", "units_operated": "units operated"}
"""the same for what has no interval"""
COLUMNS = SHOWN | SURGERY
OUTCOMES = {"above": "yes", "below": "no, below", "inside": "no, level", "undecided": "undecided"}
"""of a question whether a method is above another"""


def rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The cells of the table of measures: its head, then a row for each method."""
    head, out = ["method"], [[name] for name in report["methods"]]
    methods = report["methods"].values()
    for shown, column in SHOWN.items():
        head.append(column)
        for row, numbers in zip(out, methods, strict=True):
            row.append(measured(numbers.get(shown)))
        if shown == report["primary"]:
            head.append(f"same, a further {_unit(report)}")
            for row, numbers in zip(out, methods, strict=True):
                row.append(_further(numbers[shown]))
    for row, numbers in zip(out, methods, strict=True):
        row += [brief(numbers.get(name)) for name in SURGERY]
    return [[*head, *SURGERY.values()], *out]


def kept(report: Mapping[str, Any]) -> list[list[str]]:
    """The cells of the table of what is kept of earlier tasks and gained from them: its head, then
    a row for each method. Only the columns that some method has; empty if there are none."""
    methods = report["methods"]
    columns = [name for name in KEPT if any(name in numbers for numbers in methods.values())]
    body = [[m, *(measured(v.get(name)) for name in columns)] for m, v in methods.items()]
    return [["method", *(KEPT[name] for name in columns)], *body] if columns else []


def pairs(report: Mapping[str, Any]) -> list[list[str]]:
    """The cells of the table of differences: its head, then a row for each pair of methods."""
    unit, what = _unit(report), SHOWN[report["primary"]]
    out = [["method", "less", what, f"same, a further {unit}", "P(higher score)", f"{unit}s"]]
    for pair in report["differences"]:
        difference = pair.get("difference")
        cells = [measured(difference), _further(difference), measured(pair.get("probability"))]
        out.append([pair["method"], pair["against"], *cells, str(len(pair["seeds"]))])
    return out


def about(report: Mapping[str, Any]) -> str:
    """What the table measures, and how."""
    counts = sorted({len(numbers["seeds"]) for numbers in report["methods"].values()})
    seeds = f"{' to '.join(map(str, counts))} seed{'s' * (counts != [1])}"
    own, unit = report["own_drawings"], _unit(report)
    seeds += ", each a drawing of the tasks" * own
    same = _drawings(report, counts[-1]) < counts[-1]
    return (
        f"{report['env']['name']}, {seeds}, "
        f"{report['env_steps']:,} env steps each. Scores are {report['scale']}. Numbers are IQM "
        f"over seeds and tasks with 95 % intervals of the bootstrap that draws {unit}s, each with "
        f'all of its tasks; "a further {unit}" is between what the IQM over the tasks of one more '
        f"{unit} lies with a probability of 95 %."
        + " All seeds met one drawing of the tasks: what another drawing would change is in no "
        "interval."
        * same
        + f" The gap is the score of `{FRESH}` less that of the method, seed by seed."
    )


def about_pairs(report: Mapping[str, Any]) -> str:
    """What the table of differences shows, and how."""
    return (
        f"Differences are paired: both methods are drawn with the same {_unit(report)}s, those "
        "that both have. P(higher score) is that of the method on the same task of the same seed, "
        "ties counting half."
    )


def about_kept(report: Mapping[str, Any]) -> str:
    """What the table of what is kept shows, and how."""
    return (
        f"What is kept and gained: means over the tasks of a {_unit(report)}, then IQM over them. "
        f"Forward transfer is the area under a task's first curve less that of `{FRESH}`; the "
        "score before training is that on a task when its first visit begins; backward transfer "
        "is what earlier tasks gained from the end of their own training to the end of all, "
        "forgetting what they lost of their best score after an earlier task; on return: the "
        "first evaluation of a task that comes again, and the area under that curve less that "
        "under its first."
    )


def table(report: Mapping[str, Any]) -> str:
    """The report as Markdown: what is measured, rows for each method and for each pair of them, the
    questions of the protocol with their answers, and notes."""
    parts = [about(report), grid(rows(report), 1)]
    if cells := kept(report):
        parts += [about_kept(report), grid(cells, 1)]
    if report["differences"]:
        parts += [about_pairs(report), grid(pairs(report), 2)]
    if report["protocol"]:
        parts += [rules(report), "\n".join(f"- **{q}** {a}" for q, a in answered(report))]
    if report["notes"]:
        parts += ["\n".join(f"- {note}" for note in report["notes"])]
    return "\n\n".join(parts) + "\n"


def rules(report: Mapping[str, Any]) -> str:
    """What was written down beside the questions, and how each is decided."""
    protocol = report["protocol"]
    effect = protocol["smallest_effect"]
    return (
        f"Protocol: {protocol['drawings']} drawings of the tasks; the primary measure is "
        f"{SHOWN[protocol['primary']]}; differences below {effect} do not matter. "
        f"{protocol['exclusion']} A method is level with another if the interval of their "
        f"difference lies within ±{effect}; else above it if it lies above 0, below it if it lies "
        "below 0; else nothing can be told. Each interval is of 95 % on its own."
    )


def answered(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each question with its answer: ``no, below: -0.05 (-0.16 to -0.01). READING``."""
    wanted = report["protocol"]["drawings"]
    for asked in report["answers"]:
        if "outcome" in asked:
            said = f"{OUTCOMES[asked['outcome']]}: {measured(asked['difference'])}"
            if (drawings := _drawings(report, asked["seeds"])) < wanted:
                said += f", on {drawings} of {wanted} drawings"
            said += f". {asked['reading']}"
        else:
            said = f"not answered: {asked['method']} and {asked['against']} are not both there."
        if asked["added"] is not None:
            said += f" Added when {asked['added']} had begun."
        yield asked["asks"], said


def grid(rows: Sequence[Sequence[str]], named: int) -> str:
    """A table in Markdown; the first cells of each row are names."""
    head, *body = rows
    cells = [head, *([*(f"`{c}`" for c in row[:named]), *row[named:]] for row in body)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join(lines)


def cell(value: float, interval: Sequence[float] | None) -> str:
    """A number and its interval: ``0.5 (0.2 to 0.8)``."""
    if interval is None:
        return number(value)
    return f"{number(value)} ({' to '.join(map(number, interval))})"


def _unit(report: Mapping[str, Any]) -> str:
    """What is drawn by the bootstrap."""
    return "drawing" if report["own_drawings"] else "seed"


def _drawings(report: Mapping[str, Any], seeds: int) -> int:
    """On how many drawings of the tasks so many seeds are; of a single task each seed is one."""
    return seeds if report["own_drawings"] or "n_tasks" not in report["env"] else 1


def _further(measured: Mapping[str, Any] | None) -> str:
    further = None if measured is None else measured["further"]
    return "-" if further is None else " to ".join(map(number, further))


def measured(measure: Mapping[str, Any] | None) -> str:
    """A measure of the report with its interval; a dash if there is none."""
    return "-" if measure is None else cell(measure["iqm"], measure["interval"])


def number(value: float) -> str:
    """To four decimals: a gap of rounding errors is 0."""
    return brief(round(value, 4) + 0.0)
