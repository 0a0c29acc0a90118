"""One process at a time in a run directory. The program is the fake."""

import errno
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import fake_program
import pytest
from stored import rows_of

from knife_jax.host.loop import train
from knife_jax.records.directory import RunDirectoryError
from knife_jax.records.lock import LOCK, held

HOLDER = """
import sys, time
import fake_program
from knife_jax.host.loop import train
fake_program.install(before_each=lambda clock: time.sleep(0.2))
sys.exit(train(fake_program.config(run_dir=sys.argv[1], env_steps=10**6, checkpoint_every=200)))
"""


@pytest.fixture
def holder(forks, tmp_path):
    """A run under way in another process, in the folder ``run``."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), *sys.path]))
    words = ["python", "-c", HOLDER, str(tmp_path / "run")]
    process = forks.start(words, env=os.environ | {"PYTHONPATH": path})
    checkpoint = tmp_path / "run" / "checkpoints" / "400"
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_by_the_name_of_the_first_and_a_dead_one_never_blocks(
    holder, tmp_path, capsys, monkeypatch
):
    fake_program.install(monkeypatch)
    run = tmp_path / "run"
    linked = tmp_path / "linked"
    linked.symlink_to(run)
    for folder, resumed in ((run, None), (run, "auto"), (run, str(run)), (linked, "auto")):
        wanted = fake_program.config(run_dir=str(folder), resume=resumed, env_steps=1200)
        assert train(wanted) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(
            f"error: run_dir={folder} is in use by process {holder.pid} on "
            f"{socket.gethostname()} since 20"
        )
    branch = fake_program.config(run_dir=str(tmp_path / "branch"), resume=str(run), env_steps=200)
    assert train(branch) == 0  # it only reads the other
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (run / LOCK).exists()
    reached = json.loads((run / "summary.json").read_text())["checkpoint"]
    assert train(fake_program.config(run_dir=str(run), resume="auto", env_steps=reached)) == 0
    train_rows = [(r["seed"], r["env_steps"]) for r in rows_of(run) if r["kind"] == "train"]
    assert len(train_rows) == len(set(train_rows))
    assert not (run / LOCK).exists()


def test_the_program_refuses_what_is_in_use_and_what_it_would_train_over(forks, tmp_path):
    """It neither compiles nor writes."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"kind": "train"}\n')

    def told():
        words = ["env=matrix_game", "logger.wandb=disabled", f"run_dir={run}", "resume=auto"]
        done = forks.run(["python", "-m", "knife_jax.train", *words])
        assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
        return done.stderr

    with held(run, "it"):
        assert told().startswith(f"error: run_dir={run} is in use by process {os.getpid()} on ")
    assert told() == (
        f"error: run_dir={run} holds results (metrics.jsonl) but no checkpoint to go on from: "
        "put its checkpoints back, or choose another folder\n"
    )
    assert [path.name for path in run.iterdir()] == ["metrics.jsonl"]


def test_what_was_made_for_a_lock_goes_with_it(tmp_path):
    folder = tmp_path / "a" / "b"
    with held(folder, "it"):
        about = json.loads((folder / LOCK).read_text())
        assert about["pid"] == os.getpid()
        with pytest.raises(RunDirectoryError, match=f"it is in use by process {os.getpid()} on "):
            held(folder, "it").__enter__()
    assert list(tmp_path.iterdir()) == []
    with held(folder, "it"):
        (folder / "kept").write_text("")
    assert list(folder.iterdir()) == [folder / "kept"]


def test_of_many_at_the_same_instant_one_gets_in(tmp_path):
    """Again and again, while the folder and its lock are made and removed."""
    inside, most, refused, errors = [], [], [], []

    def contend():
        for _ in range(60):
            try:
                with held(tmp_path / "run", "it"):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except RunDirectoryError as error:
                refused.append(str(error))
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=contend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and set(most) == {1} and len(most) + len(refused) == 360
    assert all("is in use by" in line for line in refused)
    assert list((tmp_path / "run").glob("*")) == []


def test_a_folder_that_is_removed_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    mkdir, gone = Path.mkdir, iter([FileExistsError(), FileNotFoundError()])

    def racing(*args, **more):
        for error in gone:
            raise error
        return mkdir(*args, **more)

    monkeypatch.setattr(Path, "mkdir", racing)
    with held(tmp_path / "run", "it"):
        assert (tmp_path / "run" / LOCK).is_file()
    (tmp_path / "file").touch()
    with (
        pytest.raises(RunDirectoryError, match=r"^it cannot be written: (File exists|Not a dir)"),
        held(tmp_path / "file", "it"),
    ):
        pass


def test_a_disk_without_locks_is_named(tmp_path, capsys, monkeypatch):
    def no_locks(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with held(tmp_path / "run", "run_dir=run"):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    known = "its disk knows no locks"
    assert line == f"warning: run_dir=run is not protected against a second process: {known}"


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / LOCK).mkdir()
    with pytest.raises(RunDirectoryError, match=r"^it cannot be written: Is a directory$"):
        held(tmp_path, "it").__enter__()
