"""The same run gives the same bits: done twice, stopped and resumed, or killed at random."""

import json
import os
import shutil
import signal
import socket
import time

import killer
import yaml
from stored import end_of

EXAMPLE = killer.ROOT / "experiments" / "examples" / "own_environment.py"

SIZES = """
algo.hidden=13 algo.window=5 algo.batch_size=34 algo.buffer_size=203 algo.updates_per_round=3
algo.learning_starts=105 algo.target_period=20 log_every=500 evaluation.every=1000
evaluation.episodes=7 checkpoint.every=500 checkpoint.keep=9 probes.every=0
logger.wandb=disabled recording.episodes=0 env.n_envs=14
"""
KNIFE = "algo=vdn_knife plasticity.interval=300 plasticity.window=10 plasticity.threshold=0.8"


def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(forks, tmp_path, monkeypatch):
    """Two seeds over four devices, surgeries on both sides of the kill. The environment is that of
    the guide as a stranger has it, a file in the working directory; a remark is added to it."""
    shutil.copy(EXAMPLE, tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    words = [
        "env=custom", "env.target=mine:make", "env.args.length=5", "num_seeds=2", "devices=4",
        "env_steps=2000", *KNIFE.split(),
    ]  # fmt: skip
    runs = killer.Runs([*SIZES.split(), *words], tmp_path / "cache", forks)
    calm, victim = tmp_path / "calm", tmp_path / "victim"
    first = runs.start(calm)
    assert (first.wait(), first.err.read_text()) == (0, "")
    process = runs.start(victim)
    while not killer.committed(victim)[0]:
        assert process.poll() is None, process.err.read_text()
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    committed = killer.committed(victim)[0]
    with (tmp_path / "mine.py").open("a") as file:
        file.write("# another remark\n")
    again = runs.start(victim)
    assert again.wait() == 0
    assert again.err.read_text().splitlines()[0] == (
        "warning: the code of the environment, mine.py, is not what the checkpoint had"
    )
    step, _, rows = end_of(calm)
    surgeries = [row["env_steps"] for row in rows if row["kind"] == "surgery"]
    assert min(surgeries) < committed < max(surgeries) and committed < step
    assert end_of(victim) == end_of(calm)
    played = [row for row in rows if row["kind"] in ("eval", "final", "absolute")]
    lengths = [tuple(row["length"] for row in played[i : i + 2]) for i in (-6, -4, -2)]
    assert len({*lengths}) == 3, "no two evaluations play the same episodes"

    assert first.out.read_text().startswith("custom mine:make length=5, vdn_knife, ")
    summary = json.loads((calm / "summary.json").read_text())
    assert summary["mesh"] == {"seed": 2, "data": 2}
    code = summary["versions"]["env_code"]
    assert code["file"] == "mine.py" and len(code["sha256"]) == 64
    config = yaml.safe_load((calm / "config.yaml").read_text())
    assert config["env"]["target"] == "mine:make" and config["env"]["args"] == {"length": 5}


FAKE = """
import sys, time
import fake_program
from knife_jax.host.loop import train
words = dict(word.split("=", 1) for word in sys.argv[1:])
fake_program.install(before_each=lambda clock: time.sleep(0.1))
sys.exit(train(fake_program.config(checkpoint_every=200, **words)))
"""


def test_kills_at_random_moments_change_nothing(forks, tmp_path):
    """A few kills of the fake; ``tests/host/killer.py`` does any number, of a run of SMAX."""
    runs = killer.Runs([], tmp_path / "cache", forks, program=("-c", FAKE))
    startup = runs.undisturbed(tmp_path / "calm")
    log = killer.kill_at_random(runs, tmp_path / "calm", startup, kills=3, seed=5, scratch=tmp_path)
    assert len(log) == 3


def test_processes_that_share_a_run_stop_at_the_same_step(forks, tmp_path):
    """One seed in each of two processes; the signal reaches one of them."""
    run = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    words = [
        *SIZES.split(), "algo=vdn", "env=matrix_game", "env.scenario=two_step",
        "env_steps=1_000_000", "num_seeds=2", "distributed=true", f"run_dir={run}",
    ]  # fmt: skip
    env = os.environ | {
        "PYTHONPATH": str(killer.ROOT),
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
    }
    processes = [
        forks.start(
            ["python", "-m", "knife_jax.train", *words], env=env | {"JAX_PROCESS_ID": str(i)}
        )
        for i in range(2)
    ]
    try:
        killer.wait_for_rows(run, processes[0], 0)
        processes[1].send_signal(signal.SIGTERM)
        assert [process.wait() for process in processes] == [128 + signal.SIGTERM] * 2
    finally:
        for process in processes:
            process.kill()
    step, _, rows = end_of(run)
    assert rows[-1]["env_steps"] == step and {row["seed"] for row in rows} == {0, 1}
    assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
