"""Signals to a whole process group, as schedulers send them, W&B's process included."""

import os
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest
from wandb_history import logged, moments

from knife_jax.host.stored import check_schema, newest
from knife_jax.records.checkpoint import Checkpoints

HERE = Path(__file__).parent
ENV = os.environ | {
    "PYTHONPATH": f"{HERE}:{HERE.parents[1]}", "JAX_PLATFORMS": "cpu", "WANDB_MODE": "offline",
}  # fmt: skip
FAKE = """
import os, sys, time
import fake_program
from knife_jax.config.run import LoggerConfig
from knife_jax.host.loop import train
from knife_jax.console.streams import outlast_readers

os.setsid()
reader, unread = os.pipe()  # nobody reads its stdout
os.close(reader)
os.dup2(unread, 1)
run_dir = next(word.removeprefix("run_dir=") for word in sys.argv if word.startswith("run_dir="))
outlast_readers()
fake_program.install(before_each=lambda clock: time.sleep(0.2))
logger = LoggerConfig(wandb="offline")
sys.exit(train(fake_program.config(run_dir=run_dir, logger=logger, env_steps=10**6)))
"""


def signalled(forks, folder, number):
    """A run whose process group got a signal when rows were written: exit code, seconds, stderr."""
    process = forks.start(["python", "-c", FAKE, f"run_dir={folder}"], env=ENV)
    while not ((log := folder / "metrics.jsonl").exists() and log.stat().st_size):
        assert process.poll() is None, process.err.read_text()
        time.sleep(0.02)
    os.killpg(process.pid, number)
    began = time.monotonic()
    return process.wait(), time.monotonic() - began, process.err.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_run_is_saved_and_wandb_has_all_of_its_rows(forks, tmp_path, number):
    run = tmp_path / "run"
    code, seconds, err = signalled(forks, run, number)
    assert code == 128 + number and seconds < 30
    assert err == f"{number.name}: ending after this chunk; Ctrl-C again leaves at once\n"
    with closing(Checkpoints(run / "checkpoints")) as stored:
        found = newest(stored, check_schema)
    assert found is not None and found.metrics() == (run / "metrics.jsonl").read_bytes()
    assert logged(run) == moments(run)
