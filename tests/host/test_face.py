"""``import knife_jax``: what it offers, that it waits with jax, and that its examples are true."""

import doctest
import inspect
import os
import subprocess
import sys

import pytest

import knife_jax
from knife_jax import cli
from knife_jax.config.schema import ConfigError

WITHOUT_JAX = """
import sys
sys.modules["jax"] = None  # importing it raises
import knife_jax
assert {*dir(knife_jax)} >= {"build", "compose", "load", "plasticity", "train", "Run"}
config = knife_jax.compose("+env=smax", "+algo=qmix_knife")
assert (config.env.name, config.plasticity.name) == ("smax", "knife")
assert callable(knife_jax.build) and callable(knife_jax.train) and callable(knife_jax.Run)
"""

EXAMPLES = """
import doctest, inspect, sys
import knife_jax
finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
examples = finder.find(knife_jax, extraglobs={"knife_jax": knife_jax})
for example in sorted(examples, key=lambda e: (e.name == "knife_jax.load", e.name)):
    runner.run(example)  # what is loaded has been trained
assert (runner.failures, runner.tries) == (0, 9)
assert inspect.isfunction(knife_jax.train) and "knife_jax.train" not in sys.modules
"""


def test_composing_needs_no_jax():
    subprocess.run([sys.executable, "-c", WITHOUT_JAX], check=True)


def test_it_composes_what_the_command_line_composes(tmp_path):
    words = ["+env=matrix_game", "algo=qmix_redo", "seed=3"]
    assert knife_jax.compose(*words) == cli.compose(words)
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "slow.yaml").write_text("# @package algo\nlr: 1.0e-5\n")
    words = ["preset=slow", "algo.eps=1"]
    with pytest.raises(ConfigError) as refused:
        knife_jax.compose(*words, config_dir=tmp_path)
    assert "\n" not in str(refused.value) and " is not set: write algo." in str(refused.value)


def test_its_modules_are_there_at_once():
    assert knife_jax.plasticity.knife is knife_jax.plasticity.METHODS["knife"]
    assert "smax" in knife_jax.envs.ENVS and "qmix" in knife_jax.mixers.MIXERS
    assert all(hasattr(knife_jax, name) for name in knife_jax.__all__)
    with pytest.raises(AttributeError, match="module 'knife_jax' has no attribute 'surgeon'"):
        knife_jax.surgeon  # noqa: B018


WRONG = """
import pathlib
import knife_jax
for call in (
    lambda: knife_jax.compose(5),
    lambda: knife_jax.compose(["env=smax"]),
    lambda: knife_jax.train("env=smax"),
    lambda: knife_jax.build(None),
    lambda: knife_jax.load(5),
    lambda: knife_jax.Run(None),
):
    try:
        print(call())
    except (knife_jax.ConfigError, knife_jax.RunError) as error:
        print(error)
"""


def test_what_is_of_the_wrong_type_is_one_line(forks, tmp_path):
    path = os.pathsep.join(filter(None, sys.path))
    done = forks.run(["python", "-c", WRONG], tmp_path, os.environ | {"PYTHONPATH": path})
    assert done.stdout.splitlines() == [
        "cannot read 5: write 'field=value' or 'group=option'",
        "cannot read ['env=smax']: write 'field=value' or 'group=option'",
        "config='env=smax' is refused: must be what knife_jax.compose makes of words",
        "config=None is refused: must be what knife_jax.compose makes of words",
        "run=5 is refused: must be the path of a run directory",
        "run=None is refused: must be the path of a run directory",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["compose", "build", "train", "load"])
def test_every_function_says_what_it_takes_and_gives(name):
    told = inspect.getdoc(getattr(knife_jax, name))
    assert all(f"\n{part}:\n" in told for part in ("Args", "Returns", "Example"))
    assert doctest.DocTestParser().get_examples(told)


def test_the_examples_are_true_and_train_stays_a_function(forks, tmp_path):
    """In a process of its own, which composes, builds and trains."""
    path = os.pathsep.join(filter(None, sys.path))
    done = forks.run(["python", "-c", EXAMPLES], tmp_path, os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "mine" / "summary.json").is_file()
