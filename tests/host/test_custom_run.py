"""The guide's environment as a stranger has it: a file in the working directory, and commands."""

import json
import os
import shutil
import sys
from pathlib import Path

import yaml

EXAMPLE = Path(__file__).parents[2] / "experiments" / "examples" / "own_environment.py"
TRAIN = (
    "python -m knife_jax.train env=custom env.target=mine:make env.args.length=3 algo=vdn "
    "run_dir=run resume=auto env.n_envs=16 algo.hidden=16 algo.window=8 algo.batch_size=16 "
    "algo.lr=5e-3 algo.learning_starts=500 algo.epsilon_steps=5000 log_every=2000 devices=1 "
    "evaluation.episodes=32 probes.every=0 recording.episodes=0 logger.wandb=disabled"
)


def test_a_file_in_the_working_directory_is_trained_to_its_optimum_and_gone_on_with(
    forks, tmp_path
):
    path = os.pathsep.join(filter(None, sys.path))
    call = lambda words: forks.run(words.split(), tmp_path, os.environ | {"PYTHONPATH": path})  # noqa: E731
    assert len(EXAMPLE.read_text().splitlines()) <= 60
    shutil.copy(EXAMPLE, tmp_path / "mine.py")
    done = call(f"{TRAIN} env_steps=12_000 evaluation.every=12_000")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("custom mine:make length=3, vdn, seed 0: ")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["final_return"] == summary["final_win_rate"] == [1.0]  # they always meet
    code = summary["versions"]["env_code"]
    assert code["file"] == "mine.py" and len(code["sha256"]) == 64
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["env"]["target"] == "mine:make" and config["env"]["args"] == {"length": 3}

    with (tmp_path / "mine.py").open("a") as file:
        file.write("# another remark\n")
    further = call(f"{TRAIN} env_steps=14_000 evaluation.every=14_000")
    assert further.returncode == 0
    assert further.stderr.splitlines()[0] == (
        "warning: the code of the environment, mine.py, is not what the checkpoint had"
    )
