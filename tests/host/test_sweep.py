"""Sweeps on every launcher: folders, failures that are named, preempted jobs, searches."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from documents import LAUNCHED, commands
from stored import rows_of

from knife_jax import cli
from knife_jax.cli.sweeps import settings
from knife_jax.host.signals import stop_on_signal

pytestmark = pytest.mark.xdist_group("sweep")  # each starts several processes

ROOT = Path(__file__).parents[2]

FAKE_LOOP = """
import sys, types

def train(config):
    import json, os
    from pathlib import Path
    folder = Path(config.run_dir)
    folder.mkdir(parents=True)
    about = {"pid": os.getpid(), "devices": config.devices, "resume": config.resume,
             "seed": config.seed, "lr": config.algo.lr, "env_steps": config.env_steps}
    score = {"final_win_rate_mean": None, "final_return_mean": -abs(config.algo.lr - 7e-4)}
    (folder / "summary.json").write_text(json.dumps(about | score))
    if config.seed == 5:
        raise RuntimeError("seed five is wrong")
    return 3 if config.seed == 3 else 0

loop = types.ModuleType("knife_jax.host.loop")
loop.train, loop.FAILED = train, 1
sys.modules["knife_jax.host.loop"] = loop
"""
"""training that takes no time, in all processes that are started with it on their path"""


@pytest.fixture
def env(tmp_path):
    """An environment with the fake loop."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FAKE_LOOP)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])}


@pytest.fixture
def start(tmp_path, env):
    """Starts a command line in a folder of its own, with the fake loop."""

    def started(*words):
        return subprocess.Popen(
            [sys.executable, "-m", "knife_jax.train", "-m", *words], cwd=tmp_path, env=env,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return started


def finished(sweep):
    """Name -> what each job has written."""
    found = sweep.glob("*/summary.json")
    return {path.parent.name: json.loads(path.read_text()) for path in found}


OWN_PROCESSES = {"basic": False, "joblib": None, "submitit": True, "ray": True}
"""launcher -> whether each job has one"""
SHOWN = ["python -m knife_jax.train -m seed=0,1,2", *filter(LAUNCHED.fullmatch, commands())]
"""with each launcher, as the documents show it"""


@pytest.mark.parametrize("command", SHOWN)
def test_every_job_has_its_folder_and_one_that_fails_is_named(start, tmp_path, command):
    *launcher, seeds = command.split()[4:]
    assert seeds == "seed=0,1,2"
    process = start(*launcher, "seed=2,3,5,7", "env_steps=1e6", "run_dir=out")
    out, err = process.communicate(timeout=120)
    launcher = "".join(launcher[:1])
    own_processes = OWN_PROCESSES[launcher.removeprefix("launcher=") or "basic"]
    jobs = finished(tmp_path / "out")
    assert {name: job["seed"] for name, job in jobs.items()} == {
        "0_seed=2": 2, "1_seed=3": 3, "2_seed=5": 5, "3_seed=7": 7,
    }  # fmt: skip
    assert {job["env_steps"] for job in jobs.values()} == {10**6}
    assert {job["devices"] for job in jobs.values()} == {1 if launcher else None}
    preemptible = "submitit" in launcher or "ray" in launcher
    assert {job["resume"] for job in jobs.values()} == {"auto" if preemptible else None}
    pids = {job["pid"] for job in jobs.values()}
    if own_processes is not None:
        assert len(pids) == (4 if own_processes else 1)
    assert (process.pid in pids) == (launcher == "")
    assert process.returncode == 3
    assert "error: job 1_seed=3 ended with code 3" in err.splitlines()
    logs = tmp_path.glob("out/.submitit/*/*.err") if "submitit" in launcher else ()
    told = out + err + "".join(log.read_text() for log in logs)
    assert "error: job 2_seed=5 ended with code 1" in told
    assert "RuntimeError: seed five is wrong" in told


FAKE_PROGRAM = f"""
import sys
if "submitit.core._submit" in sys.orig_argv:
    import time
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    import fake_program
    fake_program.install(before_each=lambda clock: time.sleep(0.1))
"""
"""the program of jobs that submitit has started, in the place of ``FAKE_LOOP``"""


def test_a_preempted_job_is_requeued_and_goes_on_to_its_end(start, tmp_path):
    (tmp_path / "site" / "sitecustomize.py").write_text(FAKE_PROGRAM)
    process = start(
        "env_steps=9_000", "log_every=300", "recording.episodes=0", "logger.wandb=disabled",
        "run_dir=preempted", "launcher=submitit",
    )  # fmt: skip
    metrics = tmp_path / "preempted" / "0" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        assert process.poll() is None
        time.sleep(0.01)
    (job,) = (path for path in (tmp_path / "preempted/.submitit").iterdir() if path.name.isdigit())
    worker = subprocess.check_output(["pgrep", "-P", job.name], text=True)
    os.kill(int(worker), signal.SIGUSR2)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    log = (job / f"{job.name}_0_log.out").read_text()
    assert log.count("going on from checkpoint ") == 1
    assert "SIGUSR2: ending after this chunk" in (job / f"{job.name}_0_log.err").read_text()
    steps = [row["env_steps"] for row in rows_of(metrics.parent) if row["kind"] == "train"]
    assert [step // 300 for step in steps] == [*range(1, 31)]  # each line once
    assert json.loads((metrics.parent / "summary.json").read_text())["status"] == "complete"


def test_signals_are_handed_on_to_the_handlers_that_a_launcher_has_set(monkeypatch):
    got = []
    numbers = signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR2
    previous = {n: signal.signal(n, lambda *a: got.append(a[0])) for n in numbers[1:]}
    try:
        with stop_on_signal() as stop:
            for number in numbers:
                os.kill(os.getpid(), number)
            while len(stop.received) < len(numbers):
                time.sleep(0.01)
            assert got == []
        assert (stop.signal, got) == (signal.SIGUSR1, [signal.SIGTERM, signal.SIGUSR2])
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def test_a_search_keeps_the_best_of_its_trials_and_goes_on_after_one_that_fails(
    forks, env, tmp_path
):
    words = ["search=qmix", "hydra.sweeper.n_trials=6", "seed=choice(2,3)", "run_dir=out"]
    done = forks.run(["python", "-m", "knife_jax.train", "-m", *words], tmp_path, env)
    out, err = done.stdout, done.stderr
    assert done.returncode == 0, err
    trials = finished(tmp_path / "out")
    assert len(trials) == len({trial["lr"] for trial in trials.values()}) == 6
    assert all("algo.lr=" in name for name in trials)
    assert all(1e-4 <= trial["lr"] <= 3e-3 for trial in trials.values())
    good = [trial for trial in trials.values() if trial["seed"] == 2]
    assert err.count("error: job ") == 6 - len(good) > 0
    best = max(good, key=lambda trial: trial["final_return_mean"])
    found = yaml.safe_load((tmp_path / "out" / "optimization_results.yaml").read_text())
    assert found["best_value"] == best["final_return_mean"]
    assert found["best_params"]["algo.lr"] == best["lr"]
    assert found["best_params"].keys() == {
        "algo.lr", "algo.td_lambda", "algo.target_period", "algo.updates_per_round", "seed",
    }  # fmt: skip
    assert f"best_value: {found['best_value']}" in out


def test_what_is_not_installed_is_said_in_one_line(tmp_path):
    script = """
import runpy, sys
sys.modules["hydra_plugins"] = None  # importing it raises
runpy.run_module("knife_jax.train", run_name="__main__")
"""
    for word, told in [
        ("launcher=slurm", "hydra/launcher=submitit_slurm"),
        ("hydra/launcher=joblib", "hydra/launcher=joblib"),
        ("search=qmix", "hydra/sweeper=optuna"),
    ]:
        result = subprocess.run(
            [sys.executable, "-c", script, "-m", word],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (result.returncode, result.stdout) == (2, "")
        install = "pip install -c constraints.txt -e '.[sweep]'"
        assert result.stderr == f"error: {told} is not installed: {install}\n"


def test_the_slurm_file_requeues_what_runs_out_of_time():
    words = cli.parse(["-m", "launcher=slurm", "hydra.launcher.partition=gpu", "run_dir=out"])
    assert cli.preflight(words).resume == "auto"
    launcher = settings(words).launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.partition, launcher.gpus_per_node) == ("gpu", 1)
    assert launcher.max_num_timeout > 9 and launcher.signal_delay_s >= 120


def test_the_cloud_task_goes_on_in_its_bucket():
    task = yaml.safe_load((ROOT / "experiments" / "cloud" / "skypilot.yaml").read_text())
    assert task["resources"]["use_spot"] is True and "accelerators" in task["resources"]
    (mount, bucket), *others = task["file_mounts"].items()
    assert not others and bucket["mode"] == "MOUNT_CACHED"
    line = task["run"]
    for name, value in task["envs"].items():
        line = line.replace(f"${name}", value)
    program, *words = shlex.split(line)[2:]
    assert program == "knife_jax.train" and "$" not in line
    config = cli.preflight(cli.parse(words))
    assert config.resume == "auto" and str(config.run_dir).startswith(f"{mount}/")
    assert config.checkpoint.every < config.env_steps
    assert task["setup"].split()[-1] == ".[cuda12]" or '".[cuda12]"' in task["setup"]
