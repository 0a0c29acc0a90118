"""CONTRIBUTING as it is read: few files for each addition, and its examples trained together."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## Add an? (\w+)\n(.*?)(?=^## )", GUIDE, flags=re.M | re.DOTALL))
EXAMPLES = [Path(name) for name in re.findall(r"`(experiments/examples/own_\w+\.py)`", GUIDE)]

TRAIN = """
import sys
from importlib import import_module
import knife_jax
folder, *examples = sys.argv[1].split(",")
sys.path.insert(0, folder)
for example in examples:
    import_module(example)
config = knife_jax.compose(*sys.argv[2:], config_dir=folder + "/configs")
knife_jax.train(config)
"""
WORDS = (
    "env=custom", "env.target=own_environment:make", "env.args.length=5", "algo=weighted",
    "plasticity=lowest", "preset=continual", "env.n_envs=16",
    "env_steps=20_000", "evaluation.every=20_000", "log_every=10_000", "run_dir=run",
    "logger.wandb=disabled", "algo.hidden=16", "algo.embed=8", "algo.hyper_hidden=16",
    "recording.episodes=0", "plasticity.fraction=0.25",
)  # fmt: skip


def test_an_environment_a_mixer_and_a_method_from_outside_the_package(forks, tmp_path):
    assert [path.stem for path in EXAMPLES] == ["own_environment", "own_mixer", "own_method"]
    places = ",".join([str(ROOT / EXAMPLES[0].parent), *(path.stem for path in EXAMPLES)])
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = forks.run(["python", "-c", TRAIN, places, *WORDS], tmp_path, env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("custom own_environment:make length=5, weighted, seed 0: ")
    found = re.search(r"surgeries: (\d+), units operated on per seed: (\d+)", done.stdout)
    assert int(found[1]) == 4 and int(found[2]) > 0  # the last round ends at 20,480 steps
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["final_win_rate"] == [pytest.approx(1, abs=0.1)]
    config = (tmp_path / "run" / "config.yaml").read_text()
    for line in ("length: 5", "mixer: weighted", "method: lowest", "fraction: 0.25"):
        assert f"  {line}\n" in config


@pytest.mark.parametrize("what", ["environment", "mixer", "method", "metric"])
def test_every_addition_touches_at_most_three_files_besides_its_own(what):
    recipe = RECIPES[what]
    assert "(1)" in recipe and "Evidence: " in recipe
    named = re.findall(r"`((?:knife_jax|configs|tests|experiments)/[\w/.]*)`", recipe)
    files = {name for name in named if "." in name and "NAME" not in name}
    shared = {name for name in files if name.startswith("knife_jax/")}
    assert shared and len(shared) <= 3
    for name in named:
        path = ROOT / name
        assert path.exists() or (path.stem == "NAME" and path.parent.is_dir()), name
