"""The commands that documents show, found in them."""

import itertools
import re
from pathlib import Path

from knife_jax.cli import compose
from knife_jax.cli.help import help_text

ROOT = Path(__file__).parents[2]
SMALL = (
    "env.scenario=two_step", "env.n_envs=8", "algo.window=4", "algo.batch_size=4",
    "algo.updates_per_round=1", "algo.learning_starts=256", "evaluation.episodes=8",
    "plasticity.window=10", "recording.episodes=1", "log_every=500", "devices=1",
)  # fmt: skip
"""of the runs that the README and the tour show: they compile one program"""
PROGRAM = re.compile(r"(?:[A-Z]+=\S+ )?(?:python|pip|pytest|sky|knife-train|wandb)(?: \S.*)?")
LAUNCHED = re.compile(r"python -m knife_jax\.train -m launcher=(?!slurm)((?!address=auto).)*")
"""sweeps with a launcher that needs no cluster, which ``test_sweep`` runs"""
SCRIPT = re.compile(r"experiments/bench/\w+\.py (?=\S)")


def commands():
    """Every command, cleared of remarks -> the documents that show it."""
    found = {}
    for name, lines in _documents():
        for line in lines:
            for command in map(_cleared, line.split(" && ")):
                if PROGRAM.fullmatch(command):
                    found.setdefault(command, []).append(name)
    return found


def refusals():
    """Commands shown with the error that they end with -> that error."""
    lines = [line for page in pages() for line in page.read_text(encoding="utf-8").splitlines()]
    both = itertools.pairwise(lines)
    return {a.strip()[2:]: b.strip() for a, b in both if a.startswith("    $ ")}


def pages():
    """Every page of documentation."""
    wings = [*ROOT.glob("knife_jax/**/*.md"), *ROOT.glob("experiments/**/*.md")]
    return sorted([*ROOT.glob("*.md"), *wings])


def _cleared(text):
    text = re.sub(r" \[([^]]+)\]", r" \1", re.sub(r"\s+#.*", "", text)).strip()
    return f"python {text}" if SCRIPT.match(text) else text


def _documents():
    for path in pages():
        text = path.read_text(encoding="utf-8")
        shown = re.findall(r"^    (.+)$", text, re.MULTILINE)
        inline = [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
        yield str(path.relative_to(ROOT)), shown + inline
    for path in sorted([*ROOT.glob("configs/**/*.yaml"), *ROOT.glob("experiments/**/*.yaml")]):
        text = path.read_text(encoding="utf-8")
        yield str(path.relative_to(ROOT)), re.findall(r"^# (?:command|one run): (.+)$", text, re.M)
    for module in ("cli/evaluate", "cli/study", "report/write", "bench/compare"):
        text = (ROOT / "knife_jax" / f"{module}.py").read_text(encoding="utf-8")
        yield module, re.findall(r"^ +(python -m .+)$", text, re.MULTILINE)
    yield "--help", [line.strip() for line in help_text(compose(), {}).splitlines()]
