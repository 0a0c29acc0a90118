"""Seeds side by side: over devices, and on a thread pool of two."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from knife_jax.parallel import devices

ROOT = Path(__file__).parents[2]
PATHS = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
TRAINED = """
env=matrix_game preset=jaxmarl algo=vdn_knife algo.hidden=64 algo.window=5
algo.batch_size=34 algo.buffer_size=203 algo.updates_per_round=3 algo.learning_starts=105
plasticity.interval=300 plasticity.window=10 plasticity.threshold=0.8
log_every=500 evaluation.every=500 evaluation.episodes=7
logger.wandb=disabled logger.table=false probes.every=0
recording.episodes=0 env.n_envs=14 env_steps=500 num_seeds=4
"""


def test_eight_seeds_on_eight_devices_and_on_one():
    """They compile once, exchange nothing, and end within rounding of each other."""
    script = ROOT / "tests" / "host" / "eight_seeds.py"
    subprocess.run([sys.executable, script], env=os.environ | {"PYTHONPATH": PATHS}, check=True)


def test_four_seeds_with_orthogonal_weights_do_not_hang(forks, tmp_path):
    """A QR batched over seeds would wait for ever on a pool of two threads, from 64 units on."""
    words = [*TRAINED.split(), f"run_dir={tmp_path}"]
    done = forks.run(["python", "-m", "knife_jax.train", *words], env=os.environ | {"NPROC": "2"})
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["status"] == "complete" and len(summary["final_return"]) == 4
    assert summary["surgeries"] > 0 and None not in summary["final_return"]


@pytest.mark.parametrize(
    ("platform", "n", "cores", "one_thread"),
    [("cpu", 2, 2, True), ("cpu", 8, 2, True), ("cpu", 1, 1, False), ("cpu", 1, 2, False),
     ("cpu", 8, 16, False), ("gpu", 8, 2, False)],
)  # fmt: skip
def test_products_keep_to_one_thread_where_every_core_has_a_device(
    platform, n, cores, one_thread, monkeypatch
):
    monkeypatch.setattr(devices, "_cores", lambda: cores)
    monkeypatch.delenv("XLA_FLAGS")
    ours = [SimpleNamespace(platform=platform)] * n
    expected = dict(devices.QUICKLY) if platform == "cpu" else {}
    expected |= {"xla_cpu_multi_thread_eigen": False} if one_thread else {}
    assert devices.compiler_options(ours) == expected


def test_what_xla_flags_set_is_left_to_them(monkeypatch):
    monkeypatch.setattr(devices, "_cores", lambda: 2)
    flags = "--xla_backend_optimization_level=0 --xla_cpu_multi_thread_eigen=true"
    monkeypatch.setenv("XLA_FLAGS", flags)
    options = devices.compiler_options([SimpleNamespace(platform="cpu")] * 2)
    assert options == {"xla_llvm_disable_expensive_passes": True}
