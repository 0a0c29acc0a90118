"""Rows, sinks, and W&B with no network to reach."""

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import fake_program
import numpy as np
import pytest
import wandb
from wandb_history import logged, moments, offline
from wandb_server import serving

from knife_jax.config.run import LoggerConfig
from knife_jax.host.loop import train
from knife_jax.host.recording import number, seed_records, surgery_records
from knife_jax.sinks.base import FanOut, JsonLines
from knife_jax.sinks.wandb import history, open_wandb

PLANTED = "planted-secret-31415926"


@pytest.fixture
def no_key(tmp_path, monkeypatch):
    """No W&B key anywhere, and something in the environment that must not get out."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("MY_SERVICE_TOKEN", PLANTED)


def wandb_config(folder, mode):
    return fake_program.config(run_dir=str(folder), logger=LoggerConfig(wandb=mode, table=False))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.1), 0.1),
        (np.float32(16777216), 16777216.0),
        (np.float64(1 / 3), 1 / 3),
        (np.float32("nan"), None),
        (np.float32("-inf"), None),
        (np.int32(-3), -3),
        (np.bool_(True), True),
        (7, 7),
    ],
)
def test_numbers_as_json_takes_them(value, expected):
    assert number(value) == expected and type(number(value)) is type(expected)


def test_one_row_per_seed():
    values = {"return": np.float32([1.5, np.nan]), "episodes": np.int32([2, 3])}
    assert seed_records("train", [3, 4], values, env_steps=10) == [
        {"kind": "train", "seed": 3, "env_steps": 10, "return": 1.5, "episodes": 2},
        {"kind": "train", "seed": 4, "env_steps": 10, "return": None, "episodes": 3},
    ]


def test_surgery_rows_only_where_one_fired():
    events = {
        "fired": np.array([[False, True, True], [False, False, True]]),
        "env_steps": np.array([[10, 20, 30]] * 2),
        "units_operated": np.array([[0, 2, 3], [0, 0, 5]]),
    }
    assert surgery_records([3, 4], events, wall_time=1.5) == [
        {"kind": "surgery", "seed": s, "env_steps": t, "wall_time": 1.5, "units_operated": n}
        for s, t, n in ((3, 20, 2), (3, 30, 3), (4, 30, 5))
    ]


def test_lines_are_on_disk_when_write_returns(tmp_path):
    sink = JsonLines(tmp_path / "metrics.jsonl")
    sink.write([{"seed": 1}, {"seed": 2}])
    assert (tmp_path / "metrics.jsonl").read_text() == '{"seed": 1}\n{"seed": 2}\n'
    sink.write([{"seed": 3}])
    assert (tmp_path / "metrics.jsonl").read_text() == '{"seed": 1}\n{"seed": 2}\n{"seed": 3}\n'
    sink.close()


class Memory:
    """A sink that keeps rows, until it has ``room`` for no more."""

    def __init__(self, room=100):
        self.rows, self.room, self.closed = [], room, False

    def write(self, rows):
        if len(self.rows) + len(rows) > self.room:
            raise OSError("no room")
        self.rows += rows

    def close(self):
        self.closed = True


def test_a_failing_mirror_is_dropped_with_one_line(capsys):
    record, full, other = Memory(), Memory(room=1), Memory()
    with FanOut(record, [full, other]) as sinks:
        for i in range(4):
            sinks.write([{"seed": i}])
    assert record.rows == other.rows == [{"seed": i} for i in range(4)]
    assert full.rows == [{"seed": 0}] and not full.closed
    assert record.closed and other.closed
    expected = "warning: Memory failed and is switched off: OSError: no room\n"
    assert capsys.readouterr().err == expected


def test_mirrors_that_start_are_waited_for_before_the_record_is_written(capsys):
    """They read it as they start: what is written then would reach them twice."""
    record, mirror, found = Memory(), Memory(), []

    class Start(Future):
        def result(self):
            found.append(list(record.rows))
            return super().result()

    starting, failing = Start(), Start()
    starting.set_result(mirror)
    failing.set_exception(OSError("no room"))
    with FanOut(record, [], {"A": starting, "B": failing}) as sinks:
        for i in range(2):
            sinks.write([{"seed": i}])
    assert found == [[], []] and record.rows == mirror.rows == [{"seed": 0}, {"seed": 1}]
    assert mirror.closed
    assert capsys.readouterr().err == "warning: B is switched off: OSError: no room\n"


def test_mirrors_that_start_are_closed_though_nothing_was_written():
    record, mirror, starting = Memory(), Memory(), Future()
    starting.set_result(mirror)
    with FanOut(record, [], {"A": starting}):
        pass
    assert record.closed and mirror.closed


def test_a_failing_record_is_an_error():
    other = Memory()
    with pytest.raises(OSError, match="no room"), FanOut(Memory(room=0), [other]) as sinks:
        sinks.write([{"seed": 0}])
    assert other.closed and not other.rows


def test_wandb_names_are_per_seed_and_means_over_seeds():
    same = {"env_steps": 10, "updates": 2, "task": 0, "wall_time": 1.5}
    rows = [
        {"kind": "eval", "seed": 3, **same, "return": 1.0, "win_rate": 0.5},
        {"kind": "eval", "seed": 4, **same, "return": 4.0, "win_rate": None},
    ]
    assert history(rows) == same | {
        "seed3/eval/return": 1.0, "seed4/eval/return": 4.0, "eval/return": 2.5,
        "seed3/eval/win_rate": 0.5, "eval/win_rate": 0.5,
    }  # fmt: skip
    train_rows = [row | {"kind": "train", "train_seconds": 1.0} for row in rows]
    assert history(train_rows)["seed4/return"] == 4.0
    assert history(train_rows)["return"] == 2.5


def test_offline_files_are_mirrored_into_the_run_silently(tmp_path, monkeypatch, no_key, capfd):
    fake_program.install(monkeypatch)
    assert train(wandb_config(tmp_path, "offline")) == 0
    (data,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    written = data.read_bytes()
    assert b"seed6/return" in written and b"eval/win_rate" in written
    assert b"qmix_knife" in written
    out, err = capfd.readouterr()
    assert err == "" and f"wandb sync {data.parent}" in out
    everything = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(PLANTED.encode() in content for content in everything)
    for captured in (b"test_logging.py", b"site-packages", str(tmp_path).encode()):
        assert captured not in written
    assert not any(tmp_path.rglob("requirements.txt")) and not any(tmp_path.rglob("output.log"))


def test_a_resumed_run_is_one_history(tmp_path, monkeypatch, no_key, capfd):
    """Also from an earlier checkpoint, and if nothing was logged by W&B until then."""
    fake_program.install(monkeypatch)
    first = wandb_config(tmp_path / "run", "offline")
    assert train(replace(first, env_steps=600)) == 0
    known = offline(tmp_path / "run").stem
    assert logged(tmp_path / "run") == moments(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "600")
    assert train(replace(first, resume="auto")) == 0
    log = offline(tmp_path / "run")
    assert log.stem == known
    assert logged(tmp_path / "run") == moments(tmp_path / "run")
    assert len(moments(tmp_path / "run")) == 15
    assert [path.name for path in (tmp_path / "run" / "wandb").iterdir()] == [log.parent.name]
    quiet = wandb_config(tmp_path / "quiet", "disabled")
    assert train(replace(quiet, env_steps=400)) == 0
    assert train(replace(first, run_dir=str(tmp_path / "quiet"), resume="auto")) == 0
    assert logged(tmp_path / "quiet") == moments(tmp_path / "quiet")
    assert capfd.readouterr().err == ""


KILLED = """
import os, signal, sys
import fake_program
from knife_jax.config.run import LoggerConfig
from knife_jax.host.loop import train
def kill(clock):
    if int(clock.rounds) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
fake_program.install(before_each=kill)
logger = LoggerConfig(wandb="offline", table=False)
train(fake_program.config(run_dir=sys.argv[1], resume="auto", logger=logger))
"""
"""a run that is killed 200 steps after the checkpoint that it resumes from"""


def test_a_run_stopped_killed_and_uploaded_between_is_one_history(forks, tmp_path, monkeypatch):
    """Read by W&B's own reader, ``wandb sync``, which sends it to a server of the test."""

    def stop(clock):
        if int(clock.rounds) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    def upload():
        (run,) = folder.glob("wandb/offline-run-*")
        done = subprocess.run(
            ["wandb", "sync", str(run)], cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env=os.environ | {"WANDB_BASE_URL": url, "WANDB_API_KEY": "a" * 40},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [
            {k: v for k, v in lines[i].items() if k not in ("_timestamp", "_runtime")}
            for i in range(max(lines) + 1)
        ]

    folder = tmp_path / "run"
    config = replace(wandb_config(folder, "offline"), resume="auto")
    fake_program.install(monkeypatch, before_each=stop)
    with serving() as (url, lines):
        assert train(config) == 128 + signal.SIGTERM
        assert upload() == moments(folder)
        path = os.pathsep.join(filter(None, [str(Path(__file__).parent), *sys.path]))
        apart = {name: v for name, v in os.environ.items() if name != "WANDB_SERVICE"}
        words = ["python", "-c", KILLED, str(folder)]
        killed = forks.run(words, env=apart | {"PYTHONPATH": path})
        assert killed.returncode == -signal.SIGKILL
        assert moments(folder)[-1]["env_steps"] == 600
        fake_program.install(monkeypatch)
        assert train(config) == 0
        history = upload()
    assert history == moments(folder)
    assert [row["_step"] for row in history] == [*range(15)]


def test_what_the_server_knows_is_not_sent_again(tmp_path, monkeypatch):
    class Online:
        starting_step, sent = 3, []

        def define_metric(self, *_, **__):
            pass

        def log(self, values, step):
            self.sent.append((step, values["env_steps"]))

    monkeypatch.setattr(wandb, "init", lambda **_: Online())
    rows = [
        {"kind": "train", "seed": 0, "env_steps": 100 * i, "updates": 0, "task": 0,
         "wall_time": 1.0, "return": 0.0} for i in range(1, 6)
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    open_wandb(wandb_config(tmp_path, "online"), tmp_path)
    assert Online.sent == [(3, 400), (4, 500)]


@pytest.mark.parametrize(
    ("n_rows", "refused", "begun"),
    [
        (5, False, [("known", "allow", None), (None, None, "known?_step=4")]),
        (5, True, [("known", "allow", None), (None, None, "known?_step=4"),
                   ("known", "allow", None)]),
        (0, False, [("known", "allow", None), (None, "allow", None)]),
        (9, False, [("known", "allow", None)]),
    ],
)  # fmt: skip
def test_what_the_server_has_beyond_the_checkpoint_is_rewound(
    tmp_path, monkeypatch, capsys, n_rows, refused, begun
):
    """A killed run had sent 9 moments; it is resumed from the one after ``n_rows``."""
    starts, sent = [], []

    class Online:
        def __init__(self, starting_step):
            self.starting_step = starting_step

        def define_metric(self, *_, **__):
            pass

        def finish(self):
            pass

        def log(self, values, step):
            sent.append((step, values["env_steps"]))

    def init(*, id=None, resume=None, resume_from=None, **rest):
        starts.append((id, resume, resume_from))
        if resume_from and refused:
            raise wandb.errors.CommError("not enabled")
        return Online(int(resume_from.partition("=")[2]) + 1 if resume_from else 9 if id else 0)

    monkeypatch.setattr(wandb, "init", init)
    (tmp_path / "wandb" / "run-20261127_100000-known").mkdir(parents=True)
    row = {"kind": "train", "seed": 0, "updates": 0, "task": 0, "wall_time": 1.0, "return": 0.0}
    rows = [row | {"env_steps": 100 * i} for i in range(n_rows + 1)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[:n_rows]))
    sink = open_wandb(wandb_config(tmp_path, "online"), tmp_path)
    sink.write(rows[n_rows:])
    assert starts == begun
    assert sent == ([] if refused else [(n_rows, 100 * n_rows)])
    told = "warning: W&B cannot rewind the run and keeps what it had beyond the checkpoint"
    expected = f"{told} (CommError: not enabled)\n" if refused else ""
    assert capsys.readouterr().err == expected


def test_disabled_leaves_no_trace(tmp_path, monkeypatch):
    fake_program.install(monkeypatch)
    assert train(wandb_config(tmp_path, "disabled")) == 0
    assert not (tmp_path / "wandb").exists()


def test_online_without_a_key_goes_on_offline_with_one_line(tmp_path, monkeypatch, no_key, capfd):
    fake_program.install(monkeypatch)
    assert train(wandb_config(tmp_path, "online")) == 0
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("warning: W&B cannot be reached, logging offline (UsageError: No API key")
    assert len(list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))) == 1
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "complete"


def test_online_without_a_network_goes_on_offline_with_one_line(tmp_path, monkeypatch, capsys):
    real, modes = wandb.init, []

    def init(*, settings, **rest):
        modes.append((settings.mode, settings.init_timeout))
        if settings.mode == "online":
            raise wandb.errors.CommError("timed out:\nno such host")
        return real(settings=settings, **rest)

    monkeypatch.setattr(wandb, "init", init)
    (tmp_path / "metrics.jsonl").touch()
    sink = open_wandb(wandb_config(tmp_path, "online"), tmp_path)
    sink.close()
    assert modes == [("online", 20.0), ("offline", 20.0)]
    expected = "W&B cannot be reached, logging offline (CommError: timed out: no such host)"
    assert capsys.readouterr().err == f"warning: {expected}\n"


def test_a_wandb_that_cannot_start_does_not_stop_the_run(tmp_path, monkeypatch, capsys):
    def init(**_):
        raise RuntimeError("broken installation")

    monkeypatch.setattr(wandb, "init", init)
    fake_program.install(monkeypatch)
    assert train(wandb_config(tmp_path, "offline")) == 0
    expected = "warning: W&B is switched off: RuntimeError: broken installation\n"
    assert capsys.readouterr().err == expected
