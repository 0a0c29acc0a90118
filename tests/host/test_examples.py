"""The examples, run in processes of their own as a user runs them, checked by what they print.

That of the README trains a smaller run. Those of an environment, a mixer and a method of one's own
are trained by ``test_guides``.
"""

import ast
import os
import re
import sys
from pathlib import Path

import pytest
from documents import SMALL

from knife_jax.cli import compose

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "examples"
PATH = os.pathsep.join(filter(None, sys.path))
ENV = os.environ | {"PYTHONPATH": PATH, "WANDB_MODE": "disabled"}
SMALLER = {
    "=10_000": "=1_500 plasticity.slots=2",
    "=30_000": f"=1500 algo.hidden=32 {' '.join(SMALL)}",
    "algo=qmix": "algo=vdn",  # compiles in half of the time
}
"""what is written in the README -> in its place"""


def printed(done):
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    return done.stdout


@pytest.fixture
def call(forks, tmp_path):
    """Runs an example in an empty folder and returns what it prints."""
    return lambda name: printed(forks.run(["python", str(FOLDER / name)], tmp_path, ENV))


def test_every_example_is_short_and_says_how_it_is_run():
    examples = sorted(FOLDER.glob("*.py"))
    assert len(examples) >= 4
    for example in examples:
        text = example.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 60, example
        ways = f"experiments/examples/{example.name}", f"experiments.examples.{example.stem}:make"
        shown = re.findall(r"\n    python (.+)", text.split('"""')[1])
        assert any(way in command for way in ways for command in shown), example


def test_the_python_of_the_readme(forks, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert len(code.splitlines()) <= 14
    assert compose(re.search('words = "(.*)"', code)[1].split()).env_steps == 30_000  # as typed
    for shown, smaller in SMALLER.items():
        assert code.count(shown) == 1
        code = code.replace(shown, smaller)
    out = printed(forks.run(["python", "-c", code], tmp_path, ENV))
    told = out.rpartition("recording.html\n")[2]  # after the progress
    numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", told)]
    steps, returns, actions = numbers[:3], numbers[3:9], numbers[9:]
    assert steps == [512, 1024, 1504] and all(-12 <= x <= 8 for x in returns)
    assert len(actions) == 8 * 2 and {*actions} <= {0, 1, 2}
    assert told.endswith("]]\nTrue\n")
    assert re.search(r"units operated on per seed: [1-9]", out)


def test_reading_metrics(call):
    out = call("read_metrics.py")
    records = {kind: int(n) for kind, n in re.findall(r"records of kind (\w+): (\d+)", out)}
    assert records.pop("surgery") >= 2 and records == {
        "train": 8, "eval": 16, "probe": 0, "final": 4, "absolute": 4,
    }  # fmt: skip
    units, churn = re.search(
        r"units operated on: (\d+), largest change of a value: (.+)", out
    ).groups()
    assert int(units) > 0 and float(churn) == 0
    curves = [ast.literal_eval(curve) for curve in re.findall(r"over the tasks (.+)", out)]
    assert len(curves) == 2 and all(0 <= x <= 10 for curve in curves for x in curve)
    forgotten = ast.literal_eval(re.search(r"forgetting .*: (\[\[.+)", out)[1])
    assert len(forgotten) == 2 and all(len(of_seed) == 1 for of_seed in forgotten)


def test_surgery_on_an_mlp(call):
    out = call("surgery_on_an_mlp.py")
    losses = re.findall(r"(.+): loss (.+) after the first task, (.+) after the last", out)
    (_, before, without), (_, same, with_redo) = losses
    assert before == same and float(before) < 0.01
    assert float(without) > 0.2 and float(with_redo) < 0.01
