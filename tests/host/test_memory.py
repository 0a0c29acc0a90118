"""Sizes that no machine can hold are refused with the figure; those that fit never are."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from knife_jax.builders import memory
from knife_jax.builders.program import build
from knife_jax.cli import compose
from knife_jax.cli.compose import options
from knife_jax.config.schema import ConfigError

ROOT = Path(__file__).parents[2]
GIB = 2**30
GRID = "env=grid_predator_prey"
TOO_LARGE = {
    "algo.hidden=1000000000": "", "algo.hidden=20000": "", "algo.embed=2147483647": "",
    "algo.hyper_hidden=2147483647": "", "algo.buffer_size=2000000000": "",
    "algo.window=2147483647": "", "algo.updates_per_round=2147483647": "",
    "algo.batch_size=2147483647": "algo.buffer_size=2147483647", "env.n_envs=2147483647": "",
    "evaluation.episodes=2000000000": "", "num_seeds=100000000": "",
    "probes.windows=2147483647": "", "env.size=100000": GRID, "env.size=2147483647": GRID,
    "env.view=1000000": GRID, "env.n_agents=1000000": f"{GRID} env.size=10000",
    "env.time_limit=2147483647": f"{GRID} preset=pymarl",
}  # fmt: skip
"""what is refused -> further words"""


@pytest.fixture
def ram(monkeypatch):
    """Say how many GiB the machine has."""
    return lambda gib: monkeypatch.setattr(memory, "_ram", lambda: gib * GIB)


@pytest.mark.parametrize("field", TOO_LARGE)
def test_what_no_machine_can_hold_is_refused_by_its_field_and_the_figure(field, ram):
    ram(24)
    config = replace(compose([field, *TOO_LARGE[field].split()]), devices=1)
    with pytest.raises(ConfigError) as refused:
        memory.check_sizes(config)
        build(config)
    line = str(refused.value)
    assert line.startswith(f"{field} is refused: ") and "\n" not in line
    assert line.endswith("this machine has 24 GiB") or line.endswith("cannot be counted")


def test_the_launched_process_says_so_at_once_and_leaves_nothing(forks, tmp_path):
    words = ["algo.hidden=1000000000", f"run_dir={tmp_path / 'run'}"]
    ended = forks.run(["python", "-m", "knife_jax.train", *words])
    assert ended.returncode == 2 and ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith(
        "error: algo.hidden=1000000000 is refused: training would need at least 62.5 EiB, "
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("devices=100000", "at most 32 can be used"),
        ("devices=2 env.n_envs=1", "at most 1 can be used"),
        ("devices=16 num_seeds=4", "there are"),
    ],
)
def test_devices_that_cannot_be_used(words, text):
    with pytest.raises(ConfigError, match=rf"^{words.split()[0]} is refused: {text}"):
        build(compose(words.split()))


def test_a_cpu_is_never_counted_as_a_hundred_thousand_devices():
    script = (
        "import jax; from knife_jax.parallel import devices; devices.begin(100_000);"
        "print(jax.devices())"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    said = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert said.stdout.count("CpuDevice") == max(8, os.cpu_count() or 1)


def test_what_is_shipped_fits(ram):
    """Every environment with every preset: of these only two sections differ."""
    ram(16)
    presets = [compose([f"preset={file.stem}", "num_seeds=4"]) for file in options("preset")]
    for file in options("env"):
        config = compose([f"env={file.stem}", "num_seeds=4", "games.limit=800"])
        for preset in presets:
            env = replace(config.env, n_envs=preset.env.n_envs)
            memory.check_sizes(replace(config, algo=preset.algo, env=env))


def test_the_default_run_fits_into_a_small_machine_and_eight_seeds_of_it(ram):
    ram(4)
    build(replace(compose(["num_seeds=8"]), devices=1))


def test_the_copy_for_a_checkpoint_counts_but_not_the_replay_it_leaves_out(ram):
    ram(1)
    config = replace(compose(["algo.buffer_size=30000"]), devices=1)
    state = build(config).shapes
    with pytest.raises(ConfigError, match=r"^algo.buffer_size=30000 is refused: .* 1.19 GiB, "):
        memory.check_saving(config, state)
    light = replace(config, checkpoint=replace(config.checkpoint, buffer="none"))
    memory.check_saving(light, state)


def test_a_control_group_and_the_memory_of_accelerators_are_limits(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    limit.write_text("5368709120\n")
    monkeypatch.setattr(memory, "CGROUP", (limit, tmp_path / "none"))
    assert memory._ram() == memory._room() == 5 * GIB
    limit.write_text("max\n")
    assert memory._ram() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    gpu = SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 7 * GIB})
    monkeypatch.setattr(jax, "devices", lambda: [gpu] * 2)
    monkeypatch.setattr(jax, "local_devices", lambda: [gpu] * 2)
    assert memory._room() == 14 * GIB


def test_amounts():
    amounts = [memory.amount(n) for n in (7, 1536, 24 * GIB, 3 * 2**60 + 2**58, 10**30)]
    assert amounts == ["7 B", "1.5 KiB", "24 GiB", "3.25 EiB", "8.27e+05 YiB"]
