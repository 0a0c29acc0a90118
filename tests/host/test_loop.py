"""A whole run of a program of known numbers: what it leaves behind, and how it ends."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import fake_program
import jax
import numpy as np
import pytest
from safetensors import safe_open

from knife_jax.config.run import ProbesConfig
from knife_jax.host.loop import train
from knife_jax.host.signals import stop_on_signal
from knife_jax.records.lines import read_records

HERE = Path(__file__).parent
SEEDS = [5, 6, 7]
ENDING = [("final", 1000), ("absolute", 400)]


def reject(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """The folder of a completed run."""
    fake_program.install(monkeypatch)
    assert train(fake_program.config(run_dir=str(tmp_path / "run"))) == 0
    return tmp_path / "run"


def test_the_run_directory_holds_exactly_the_promised_files(finished):
    assert sorted(path.name for path in finished.iterdir()) == [
        "checkpoints", "config.yaml", "curve.png", "metrics.jsonl", "params.safetensors",
        "summary.json",
    ]  # fmt: skip
    assert (finished / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_rows_come_per_seed_in_time_order(finished):
    rows = read_records(finished / "metrics.jsonl")
    chunks = range(200, 1001, 200)
    expected = []
    for end in chunks:
        expected += [("surgery", seed, end) for seed in SEEDS]
        expected += [("train", seed, end) for seed in SEEDS]
        if end in (400, 800, 1000):  # boundaries of 400, and the end
            expected += [("eval", seed, end) for seed in SEEDS]
        # the end, and the best evaluation, which is the first of equal ones
        expected += [(kind, seed, end) for kind, at in ENDING if at == end for seed in SEEDS]
    assert [(row["kind"], row["seed"], row["env_steps"]) for row in rows] == expected
    assert all(row["updates"] == row["env_steps"] // 50 and row["task"] == 0 for row in rows)
    times = [row["wall_time"] for row in rows if row["kind"] != "absolute"]
    assert times == sorted(times) and times[0] > 0


def test_train_rows_carry_each_seeds_own_values(finished):
    rows = [row for row in read_records(finished / "metrics.jsonl") if row["kind"] == "train"]
    row = next(row for row in rows if row["seed"] == 7 and row["env_steps"] == 600)
    del row["wall_time"], row["train_seconds"]
    assert row == {
        "kind": "train", "seed": 7, "env_steps": 600, "updates": 12, "task": 0,
        "return": 8.0, "win_rate": 0.25, "loss": 2.5, "epsilon": 0.1, "stagnant_pct": 20.0,
        "dormant_pct": 2.5, "grafted_units": 15,
    }  # fmt: skip


def test_a_loss_that_is_not_finite_is_null(finished):
    lines = (finished / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=reject) for line in lines]
    losses = {row["seed"]: row["loss"] for row in rows if row["kind"] == "train"}
    assert losses == {5: 0.5, 6: None, 7: 2.5}


def test_surgery_and_evaluation_rows(finished):
    rows = read_records(finished / "metrics.jsonl")
    surgery = next(row for row in rows if row["kind"] == "surgery" and row["seed"] == 6)
    del surgery["wall_time"]
    assert surgery == {
        "kind": "surgery", "seed": 6, "env_steps": 200, "updates": 4, "task": 0,
        "units_operated": 4, "slots_used": 5, "saturated_units": 0, "churn_max": 0.001,
    }  # fmt: skip
    evaluation = next(row for row in rows if row["kind"] == "eval" and row["seed"] == 6)
    values = {name: evaluation[name] for name in ("return", "win_rate", "length", "episodes")}
    assert values == {"return": 13.0, "win_rate": 2 / 7, "length": 11.0, "episodes": 7}


def test_probe_rows_at_their_own_interval(tmp_path, monkeypatch):
    fake_program.install(monkeypatch)
    probes = ProbesConfig(every=300)  # due in the chunks that end at 400, 600 and 1000
    assert train(fake_program.config(run_dir=str(tmp_path), probes=probes)) == 0
    rows = [row for row in read_records(tmp_path / "metrics.jsonl") if row["kind"] == "probe"]
    at = [(row["seed"], row["env_steps"], row["updates"]) for row in rows]
    assert at == [(seed, e, e // 50) for e in (400, 600, 1000) for seed in SEEDS]
    assert [row["agent/srank"] for row in rows] == [8, 9, 10, 12, 13, 14, 20, 21, 22]


def test_the_summary_adds_up(finished):
    summary = json.loads((finished / "summary.json").read_text(), parse_constant=reject)
    assert summary["status"] == "complete" and summary["seeds"] == SEEDS
    assert summary["final_return"] == [3.0, 13.0, 23.0] and summary["final_return_mean"] == 13.0
    assert summary["final_win_rate"] == pytest.approx([1 / 7, 2 / 7, 3 / 7])
    assert summary["final_win_rate_mean"] == pytest.approx(2 / 7)
    assert summary["final_episodes"] == [7, 7, 7]
    for name in ("return", "win_rate", "return_mean", "win_rate_mean"):
        assert summary[f"absolute_{name}"] == pytest.approx(summary[f"final_{name}"])
    assert summary["absolute_episodes"] == [70, 70, 70] and summary["best_env_steps"] == 400
    assert (summary["env_steps"], summary["updates"], summary["n_params"]) == (1000, 20, 13)
    assert (summary["surgeries"], summary["units_operated"]) == (5, [15, 20, 25])
    assert summary["churn_max"] == 0.002
    assert 0 < summary["train_seconds"] < summary["wall_seconds"]
    assert 0 < summary["compile_seconds"] < summary["wall_seconds"]
    assert summary["compile_cached"] is False
    speed = 3 * 1000 / summary["train_seconds"]
    assert summary["env_steps_per_second"] == pytest.approx(speed, rel=0.2)  # rounded seconds
    assert summary["versions"]["jax"] == jax.__version__
    assert summary["versions"]["platform"] == "cpu"


def test_the_parameters_are_stored_by_name_with_the_seed_axis(finished):
    with safe_open(str(finished / "params.safetensors"), "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        ((key, text),) = file.metadata().items()
    assert sorted(arrays) == ["grafts/agent/used", "params/agent/kernel"]
    np.testing.assert_array_equal(arrays["params/agent/kernel"], [[5, 5], [6, 6], [7, 7]])
    assert arrays["grafts/agent/used"].dtype == np.int32
    summary = json.loads((finished / "summary.json").read_text())
    assert key == "knife_jax" and json.loads(text) == {
        "seeds": SEEDS, "env_steps": 1000,
        "config_hash": summary["config_hash"], "versions": summary["versions"],
    }  # fmt: skip


def test_without_winning_there_is_no_win_rate(tmp_path, monkeypatch):
    fake_program.install(monkeypatch, has_win=False)
    assert train(fake_program.config(run_dir=str(tmp_path))) == 0
    assert not any("win_rate" in row for row in read_records(tmp_path / "metrics.jsonl"))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["final_win_rate"] == [None] * 3 and summary["final_win_rate_mean"] is None
    assert summary["final_return"] == [3.0, 13.0, 23.0]


def test_the_budget_is_met_to_within_a_round(tmp_path, monkeypatch):
    fake_program.install(monkeypatch)
    assert train(fake_program.config(run_dir=str(tmp_path), env_steps=601, num_seeds=1)) == 0
    rows = read_records(tmp_path / "metrics.jsonl")
    assert [r["env_steps"] for r in rows if r["kind"] == "train"] == [200, 400, 600, 700]
    assert [r["env_steps"] for r in rows if r["kind"] == "eval"] == [400, 700]


def test_an_existing_run_is_refused_in_one_line_and_left_alone(finished, capsys):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert train(fake_program.config(run_dir=str(finished))) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith(f"error: run_dir={finished} holds a run already")
    assert {path: path.read_bytes() for path in before} == before


def test_errors_of_the_program_are_raised_and_recorded(tmp_path, monkeypatch):
    def fail(clock):
        if clock.rounds >= 2:
            raise RuntimeError("the second chunk broke")

    fake_program.install(monkeypatch, before_each=fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="the second chunk broke"):
        train(fake_program.config(run_dir=str(tmp_path), num_seeds=1))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["status"] == "failed" and summary["env_steps"] == 200
    assert summary["error"].startswith("JaxRuntimeError")
    assert [row["kind"] for row in read_records(tmp_path / "metrics.jsonl")] == ["surgery", "train"]


RUN = """
import signal, sys, time
import fake_program
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # not ignored, whatever started the tests
signal.signal(signal.SIGINT, signal.default_int_handler)
from knife_jax.host.loop import train
fake_program.install(before_each=lambda clock: time.sleep(float(sys.argv[2])))
sys.exit(train(fake_program.config(run_dir=sys.argv[1], env_steps=10**6)))
"""


@pytest.fixture
def interrupt(forks, tmp_path):
    """Starts an endless run, sends signals once a chunk is logged; exit code and stderr."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), *sys.path]))}

    def interrupted(*numbers: int, seconds: float = 0.2) -> tuple[int, str]:
        """``seconds`` is how long a chunk takes."""
        process = forks.start(["python", "-c", RUN, str(tmp_path), str(seconds)], env=env)
        log = tmp_path / "metrics.jsonl"
        while not (log.exists() and log.stat().st_size):
            assert process.poll() is None
            time.sleep(0.02)
        first, *later = numbers
        process.send_signal(first)
        while not process.err.stat().st_size:
            time.sleep(0.02)
        for number in later:
            process.send_signal(number)
        return process.wait(), process.err.read_text()

    return interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_run_ends_cleanly_with_everything_on_disk(interrupt, tmp_path, number):
    code, err = interrupt(number)
    assert code == 128 + number
    assert err == f"{number.name}: ending after this chunk; Ctrl-C again leaves at once\n"
    rows = read_records(tmp_path / "metrics.jsonl")
    last = rows[-1]["env_steps"]
    assert 0 < last < 10**6 and len(rows) % 3 == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["status"] == "interrupted" and summary["env_steps"] == last
    with safe_open(str(tmp_path / "params.safetensors"), "numpy") as file:
        assert file.get_tensor("params/agent/kernel").shape == (3, 2)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_ctrl_c_leaves_at_once(interrupt, tmp_path):
    code, _ = interrupt(signal.SIGINT, signal.SIGINT, seconds=3)
    assert code == 130
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "running"
    assert not (tmp_path / "params.safetensors").exists()


def test_under_nohup_a_closed_terminal_stops_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGUSR1)
            deadline = time.monotonic() + 10
            while stop.signal is None and time.monotonic() < deadline:
                time.sleep(0.01)
        assert stop.received == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_first_signal_only_asks_and_handlers_are_put_back(capfd):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_on_signal() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # some schedulers send it twice
        deadline = time.monotonic() + 10
        while stop.signal is None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert stop.signal == signal.SIGTERM
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert capfd.readouterr().err.count("\n") == 1
