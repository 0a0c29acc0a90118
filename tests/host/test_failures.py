"""A run that breaks off says why: in one line, in its exit code and in its run directory."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import fake_program
import jax
import pytest

from knife_jax.config.run import EvaluationConfig
from knife_jax.host.loop import train
from knife_jax.records.lines import read_records

HERE = Path(__file__).parent
ENV = os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parents[1]}", "JAX_PLATFORMS": "cpu"}


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


@contextmanager
def largest_file(size):
    """No file can grow beyond ``size``, as if the disk were full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_row_that_does_not_fit_leaves_no_half_of_it(tmp_path, monkeypatch, capsys):
    fake_program.install(monkeypatch)
    config = fake_program.config(
        run_dir=str(tmp_path), env_steps=10**5, compile_cache=False,
        evaluation=EvaluationConfig(every=10**6),
    )  # fmt: skip
    with largest_file(5000):
        assert train(config) == 1
    err = capsys.readouterr().err
    assert err == f"error: {tmp_path}/metrics.jsonl cannot be written: File too large\n"
    done = summary_of(tmp_path)
    assert done["status"] == "failed" and "File too large" in done["error"]
    content = (tmp_path / "metrics.jsonl").read_text()
    assert content.endswith("}\n") and len(content) > 3000
    rows = read_records(tmp_path / "metrics.jsonl")
    assert len(rows) % 6 == 0 and rows[-1]["env_steps"] < done["env_steps"]


FULL = """
import sys
import time
from pathlib import Path
import fake_program
from knife_jax.host.loop import train

disk = Path(sys.argv[1])

def fill(clock):
    if clock.rounds >= 6:
        with open(disk / "other", "ab", buffering=0) as file:
            try:
                while file.write(b"x" * 512):
                    pass
            except OSError:
                pass

fake_program.install(before_each=fill)
config = fake_program.config(run_dir=str(disk / "run"), env_steps=10**5, checkpoint_every=200)
sys.exit(train(config))
"""
SMALL_DISK = """
mount -t tmpfs -o size=2m none "$1" || exit 77
"$2" -c "$3" "$1"; code=$?
cp -r "$1/run" "$4"; exit $code
"""


def test_a_disk_that_fills_up_leaves_the_truth_and_the_last_checkpoint(tmp_path, monkeypatch):
    """Another program takes all room that is left after 600 env steps."""
    (disk := tmp_path / "disk").mkdir()
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", SMALL_DISK, "-", disk]
    if shutil.which("unshare") is None:
        pytest.skip("a small disk cannot be made here")
    done = subprocess.run(
        [*command, sys.executable, FULL, tmp_path / "run"], env=ENV, capture_output=True, text=True
    )
    if done.returncode != 1 and not (tmp_path / "run").exists():
        pytest.skip(f"a small disk cannot be made here: {done.stderr}")
    assert done.returncode == 1, done.stderr
    *warnings, error = done.stderr.splitlines()
    full = "No space left on device"
    assert set(warnings) <= {f"warning: a checkpoint could not be written: {full}"}
    assert error == f"error: {disk}/run/metrics.jsonl cannot be written: {full}"
    summary = summary_of(tmp_path / "run")
    assert summary["status"] == "failed" and full in summary["error"]
    assert read_records(tmp_path / "run" / "metrics.jsonl")[-1]["env_steps"] >= 600
    hidden = [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]
    assert hidden in ([], [".lock"])
    steps = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert steps and all(step.isdigit() for step in steps)
    fake_program.install(monkeypatch)
    again = fake_program.config(run_dir=str(tmp_path / "run"), env_steps=2000, resume="auto")
    assert train(again) == 0
    assert summary_of(tmp_path / "run")["status"] == "complete"


MEMORY = "RESOURCE_EXHAUSTED: Out of memory allocating 128000000000 bytes."
BROKEN = {
    "memory": (jax.errors.JaxRuntimeError(MEMORY), f"JaxRuntimeError: {MEMORY}"),
    "no memory": (MemoryError("Unable to allocate"), "MemoryError: Unable to allocate"),
    "overflow": (OverflowError("value 8589934588"), "OverflowError: value 8589934588"),
}


def breaking(monkeypatch, place, error):
    """A program that breaks while it is built, begun or compiled."""
    fake_program.install(monkeypatch)
    module = sys.modules["knife_jax.builders.program"]
    build = module.build

    def fail(*_):
        raise error

    def half_built(config):
        program = build(config)
        setattr(program, place, SimpleNamespace(lower=fail) if place == "chunk" else fail)
        return program

    monkeypatch.setattr(module, "build", fail if place == "build" else half_built)


@pytest.mark.parametrize("place", ["build", "init", "place", "chunk"])
@pytest.mark.parametrize("kind", BROKEN)
def test_what_does_not_fit_is_told_in_one_line(tmp_path, monkeypatch, capsys, place, kind):
    error, message = BROKEN[kind]
    breaking(monkeypatch, place, error)
    assert train(fake_program.config(run_dir=str(tmp_path / "run"))) == 1
    err = capsys.readouterr().err
    assert err == f"error: the run is too large for this machine: {message}\n"
    done = summary_of(tmp_path / "run")
    assert done["status"] == "failed" and done["error"] == message and done["env_steps"] == 0
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == b""
    assert (tmp_path / "run" / "config.yaml").exists()


def test_a_signal_while_the_program_is_compiled_waits_for_that_alone(tmp_path, monkeypatch, capfd):
    fake_program.install(monkeypatch)
    module = sys.modules["knife_jax.builders.program"]
    build = module.build

    def interrupted(config):
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.5)  # a thread of its own takes note
        return build(config)

    monkeypatch.setattr(module, "build", interrupted)
    assert train(fake_program.config(run_dir=str(tmp_path))) == 128 + signal.SIGUSR1
    assert capfd.readouterr().err == (
        "SIGUSR1: ending once the program is compiled; Ctrl-C again leaves at once\n"
    )
    assert summary_of(tmp_path)["status"] == "interrupted"
    assert read_records(tmp_path / "metrics.jsonl") == []


def test_a_bug_shows_where_it_is_after_the_status_is_written(tmp_path, monkeypatch):
    breaking(monkeypatch, "place", ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        train(fake_program.config(run_dir=str(tmp_path)))
    assert summary_of(tmp_path)["status"] == "failed"


def test_a_finished_run_that_cannot_be_built_again_stays_as_it_is(tmp_path, monkeypatch, capsys):
    fake_program.install(monkeypatch)
    assert train(fake_program.config(run_dir=str(tmp_path))) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    breaking(monkeypatch, "build", MemoryError("no room"))
    config = fake_program.config(run_dir=str(tmp_path), env_steps=2000, resume="auto")
    assert train(config) == 1
    assert {path: path.read_bytes() for path in before} == before


def test_a_backend_that_is_not_there(tmp_path):
    """By the real words."""
    command = [sys.executable, "-m", "knife_jax.train", "env=matrix_game", f"run_dir={tmp_path}/r"]
    done = subprocess.run(
        command, env=ENV | {"JAX_PLATFORMS": "abacus"}, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: RuntimeError: Unable to initialize backend 'abacus'")
    assert done.stderr.count("\n") == 1
    assert summary_of(tmp_path / "r")["status"] == "failed"
