"""The same run gives the same bits: done twice, stopped and resumed, or killed at random."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import killer
import pytest
from stored import end_of

SIZES = """
algo=vdn_knife algo.hidden=13 algo.window=5 algo.batch_size=34
algo.buffer_size=203 algo.updates_per_round=3 algo.learning_starts=105 algo.target_period=20
plasticity.interval=300 plasticity.window=10 plasticity.threshold=0.8 log_every=500
evaluation.every=1000 evaluation.episodes=7 checkpoint.every=500 checkpoint.keep=9
logger.wandb=disabled logger.table=false recording.episodes=0 env.n_envs=14
"""


same_process = pytest.mark.xdist_group("straight")  # they share a run


class Straight(NamedTuple):
    """An undisturbed run."""

    runs: killer.Runs
    folder: Path
    startup: float
    """seconds until its first chunk"""
    cache: Path


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Two seeds over four devices."""
    scratch = tmp_path_factory.mktemp("straight")
    words = ["env=mpe_predator_prey", "num_seeds=2", "devices=4", "env_steps=2000"]
    runs = killer.Runs([*SIZES.split(), *words], scratch / "cache")
    startup = runs.undisturbed(scratch / "run")
    return Straight(runs, scratch / "run", startup, scratch / "cache")


@same_process
def test_a_resumed_run_ends_with_the_bits_of_a_straight_one(straight, forks, tmp_path):
    """Surgeries on both sides of the break, another process."""
    runs, straight, _, cache = straight
    resumed = tmp_path / "resumed"
    step, sums, rows = end_of(straight)
    surgeries = [row["env_steps"] for row in rows if row["kind"] == "surgery"]
    steps = sorted(int(path.name) for path in (straight / "checkpoints").iterdir())
    middle = steps[1]
    assert min(surgeries) < middle < max(surgeries) and step == steps[-1] > middle
    shutil.copytree(straight, resumed)
    for later in (s for s in steps if s > middle):
        shutil.rmtree(resumed / "checkpoints" / str(later))
    assert runs.start(resumed).wait() == 0
    assert end_of(resumed) == (step, sums, rows)
    summary = json.loads((resumed / "summary.json").read_text())
    assert summary["mesh"] == {"seed": 2, "data": 2}
    assert list((cache / "knife_jax").rglob("jit_*-cache")), "nothing was kept"
    # the policy is played on any number of devices, here on as many as there are cores
    for words, episodes, kind in (([], 7, "final"), (["--checkpoint", "best"], 70, "absolute")):
        done = forks.run(["python", "-m", "knife_jax.evaluate", str(resumed), *words], env=runs.env)
        assert f"{episodes} episodes per seed" in done.stdout, done.stderr
        for seed, returned in enumerate(summary[f"{kind}_return"]):
            assert re.search(rf"\| +{seed} +\| +{returned:.3g}", done.stdout)
    returns = [summary[f"{kind}_return"] for kind in ("final", "absolute")]
    returns.append([row["return"] for row in rows if row["kind"] == "eval"][-2:])
    assert len(set(map(tuple, returns))) == 3, "no two evaluations play the same episodes"


@same_process
def test_kills_at_random_moments_change_nothing(straight, tmp_path):
    """A few kills; ``tests/host/killer.py`` does any number, of a run of SMAX."""
    runs, calm, startup, _ = straight
    log = killer.kill_at_random(runs, calm, startup, kills=2, seed=5, scratch=tmp_path)
    assert len(log) == 2


def test_processes_that_share_a_run_stop_at_the_same_step(tmp_path):
    """One seed in each of two processes; the signal reaches one of them."""
    run = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    words = [
        *SIZES.split(), "env=matrix_game", "env.scenario=two_step", "env_steps=1_000_000",
        "num_seeds=2", "distributed=true", f"run_dir={run}",
    ]  # fmt: skip
    env = os.environ | {
        "PYTHONPATH": str(killer.ROOT),
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "knife_jax.train", *words],
            env=env | {"JAX_PROCESS_ID": str(i)}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for i in range(2)
    ]  # fmt: skip
    try:
        killer.wait_for_rows(run, processes[0], 0)
        processes[1].send_signal(signal.SIGTERM)
        assert [process.wait(timeout=120) for process in processes] == [128 + signal.SIGTERM] * 2
    finally:
        for process in processes:
            process.kill()
            process.wait()
    step, _, rows = end_of(run)
    assert rows[-1]["env_steps"] == step and {row["seed"] for row in rows} == {0, 1}
    assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
