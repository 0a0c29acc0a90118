"""Seeds side by side: over devices, and on a thread pool of two."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from knife_jax.parallel import devices

ROOT = Path(__file__).parents[2]
PATHS = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
ORTHOGONAL = """
from functools import partial
from ladder.environments import MEMORY
from tiny import KNIFE, tiny_config
from knife_jax.builders.program import build_in
from knife_jax.envs.base import vectorise
config = tiny_config(mixer="vdn", seeds=4, plasticity=KNIFE, hidden=64, init="orthogonal")
program = build_in(partial(vectorise, MEMORY.env), config)
state, clock = program.place(program.init(range(4)), program.clock())
state, clock, metrics = program.chunk(state, clock)
print(metrics["train"]["finite"].tolist(), metrics["surgery"]["units_operated"].sum(1).tolist())
"""


def test_three_seeds_on_three_devices_and_on_one(forks):
    """They compile once, exchange nothing, and end within rounding of each other."""
    script = ROOT / "tests" / "host" / "three_seeds.py"
    done = forks.run(["python", str(script)], env=os.environ | {"PYTHONPATH": PATHS})
    assert done.returncode == 0, done.stderr


def test_four_seeds_with_orthogonal_weights_do_not_hang(forks):
    """A QR batched over seeds would wait for ever on a pool of two threads, from 64 units on."""
    env = os.environ | {"PYTHONPATH": PATHS, "NPROC": "2"}
    done = forks.run(["python", "-c", ORTHOGONAL], env=env)
    assert done.returncode == 0, done.stderr
    finite, operated = done.stdout.strip().removeprefix("[").split("] [")
    assert finite == "True, True, True, True" and all(int(n) > 0 for n in operated[:-1].split(", "))


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
