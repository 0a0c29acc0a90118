"""The entry that runs a study: which runs, what is skipped, and how it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import FIRST, rows, store

from knife_jax.cli.study import FAILED, REFUSED, is_complete, jobs
from knife_jax.config.schema import ConfigError
from knife_jax.records.compare import config_hash
from knife_jax.records.lines import parsed
from knife_jax.records.reading import records_sum

HERE = Path(__file__).parent

FAKE_LOOP = """
import json, os, sys, time, types
from pathlib import Path

def train(config):
    sys.path.insert(0, {here!r})
    from fake_runs import FIRST, FRESH, rows, store
    from knife_jax.records.compare import config_hash
    from knife_jax.records.directory import write_json
    from knife_jax.host.signals import stop_on_signal
    method, folder = config.plasticity.name, Path(config.run_dir)
    print("trained", method, config.num_seeds, config.resume, flush=True)
    if method == os.environ.get("WAITS"):
        with stop_on_signal() as stop:
            print("waiting", flush=True)
            while stop.signal is None:
                time.sleep(0.01)
        return 128 + stop.signal
    if method == os.environ.get("FAILS"):
        return 1
    store(folder, rows(FRESH if method == "fresh_per_task" else FIRST), config)
    about = {{"config_hash": config_hash(config), "versions": {{"jax": "0"}}, "wall_seconds": 2.5}}
    write_json(folder / "summary.json", {{"status": "complete", **about}})
    return 0

if "knife_jax.train" in sys.orig_argv:
    sys.modules["knife_jax.host.loop"] = types.ModuleType("knife_jax.host.loop")
    sys.modules["knife_jax.host.loop"].train = train
"""
"""training that takes no time, in all processes that are started with it on their path"""


@pytest.fixture
def env(tmp_path):
    """The environment of the entry, with the fake loop."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FAKE_LOOP.format(here=str(HERE)))
    path = [str(tmp_path / "site"), *filter(None, sys.path)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)}


@pytest.fixture
def start(tmp_path, env):
    """Starts the entry in a folder."""

    def started(*words, waits):
        return subprocess.Popen(
            [sys.executable, "-m", "knife_jax.study", *words], cwd=tmp_path,
            env=env | {"WAITS": waits}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return started


@pytest.fixture
def study(forks, tmp_path, env):
    """Runs the entry in a folder to its end."""

    def run(*words, **environment):
        return forks.run(["python", "-m", "knife_jax.study", *words], tmp_path, env | environment)

    return run


def trained(out):
    return [line.split()[1] for line in out.splitlines() if line.startswith("trained")]


def test_every_method_of_the_file_is_a_run_of_its_own(tmp_path):
    listed = jobs("predator_prey_sequence", None, tmp_path, ["num_seeds=3", "algo.hidden=13"])
    assert [job.method for job in listed] == [
        "none", "fresh_per_task", "restart_optimiser", "wider", "layer_norm", "shrink_perturb",
        "redo", "reborn", "plasticity_injection", "knife", "knife_random", "l2_task", "ewc", "mas",
    ]  # fmt: skip
    assert [job.config.plasticity.name for job in listed] == [job.method for job in listed]
    assert {job.config.num_seeds for job in listed} == {3}
    assert listed[0].words == [
        "experiment=predator_prey_sequence", "algo=qmix", "num_seeds=3", "algo.hidden=13",
        f"run_dir={tmp_path / 'none'}", "resume=auto",
    ]  # fmt: skip
    assert listed[6].words[1] == "algo=qmix_redo"
    assert listed[6].config.algo.hidden == 13 and listed[6].config.resume == "auto"


def test_methods_and_algorithm_can_be_chosen(tmp_path):
    listed = jobs("predator_prey_sequence", "snr,none", tmp_path, ["+algo=qmix", "seed=20"])
    assert [job.words[1] for job in listed] == ["algo=qmix_snr", "algo=qmix"]
    assert [job.words.count("+algo=qmix") for job in listed] == [0, 0]
    assert {job.config.seed for job in listed} == {20}


@pytest.mark.parametrize(
    ("name", "methods", "word", "told"),
    [
        (
            "matrix",
            None,
            "seed=1",
            "experiment=matrix is refused (did you mean",
        ),
        (
            "matrix_sequence",
            "none,zzz",
            "seed=1",
            "--methods zzz is refused: must be one of",
        ),
        ("matrix_sequence", "none", "algo.lrr=1", "unknown key 'algo.lrr'; did you mean"),
        ("matrix_sequence", "none", "seed=1,2", "seed=1,2 is a sweep"),
        ("matrix_sequence", "none", "+run_dir=a", "+run_dir=a is refused: the study says so"),
        ("matrix_sequence", "none", "plasticity=redo", "plasticity=redo is refused: the study"),
    ],
)
def test_what_a_study_cannot_run_is_refused(name, methods, word, told, tmp_path):
    with pytest.raises(ConfigError) as refused:
        jobs(name, methods, tmp_path, [word])
    assert str(refused.value).startswith(told)


def test_a_method_that_does_not_exist_is_refused_by_methods(tmp_path):
    with pytest.raises(ConfigError) as refused:
        jobs("matrix_sequence", "nonee", tmp_path, [])
    line = str(refused.value)
    assert line.startswith("--methods nonee is refused (did you mean 'none'?): must be one of ")
    assert "qmix" not in line


def test_only_the_very_run_counts_as_complete(tmp_path):
    (job,) = jobs("matrix_sequence", "none", tmp_path, [])
    (other,) = jobs("matrix_sequence", "none", tmp_path, ["algo.hidden=13"])
    run = tmp_path / "none"
    assert not is_complete(job)
    store(run, rows(FIRST), job.config)
    for status in ("complete", "interrupted"):
        summary = {"status": status, "config_hash": config_hash(job.config)}
        (run / "summary.json").write_text(json.dumps(summary))
        assert is_complete(job) == (status == "complete")
        assert not is_complete(other)


@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl", "config.yaml"])
@pytest.mark.parametrize("content", ["", "null", None, '{"status": 1}'])
def test_a_damaged_run_is_not_complete(tmp_path, name, content):
    """Its training then puts back what its checkpoint holds."""
    (job,) = jobs("matrix_sequence", "none", tmp_path, [])
    run = store(tmp_path / "none", rows(FIRST), job.config)
    summary = {"status": "complete", "config_hash": config_hash(job.config)}
    summary["rows_sum"] = records_sum(parsed((run / "metrics.jsonl").read_bytes()).records)
    (run / "summary.json").write_text(json.dumps(summary))
    assert is_complete(job)
    (run / name).unlink()
    if content is not None:
        (run / name).write_text(content)
    assert not is_complete(job)


def test_a_study_goes_on_past_a_failure_and_again_from_where_it_was(tmp_path, study):
    words = ("matrix_sequence", "--methods", "none,redo,fresh_per_task", "num_seeds=4")
    done = study(*words, FAILS="redo")
    assert done.returncode == FAILED
    assert trained(done.stdout) == ["none", "redo", "fresh_per_task"]
    assert done.stderr.splitlines() == [
        "error: redo ended with code 1; the others go on",
        "warning: redo is left out: there is no metrics.jsonl",
        "error: not complete: redo",
    ]
    folder = tmp_path / "runs" / "matrix_sequence"
    record = json.loads((folder / "report.json").read_text())
    assert list(record["methods"]) == ["none", "fresh_per_task"]
    assert record["command"] == f"python -m knife_jax.study {' '.join(words)}"
    assert record["methods"]["none"]["wall_seconds"] == 2.5 and record["versions"] == {"jax": "0"}
    done = study(*words)
    assert (done.returncode, done.stderr, trained(done.stdout)) == (0, "", ["redo"])
    assert "trained redo 4 auto" in done.stdout
    assert "run 1 of 3: none is complete" in done.stdout
    record = json.loads((folder / "report.json").read_text())
    assert list(record["methods"]) == ["none", "redo", "fresh_per_task"]


def test_a_study_has_its_folder_alone_and_its_run_ends_with_it(tmp_path, start, study):
    """A second one is refused by the name of the first; a kill reaches the run at hand."""
    first = start("matrix_sequence", "--methods", "redo", waits="redo")
    while first.stdout.readline() != "waiting\n":
        assert first.poll() is None
    second = study("matrix_sequence", "--methods", "none")
    assert (second.returncode, second.stdout) == (REFUSED, "")
    assert second.stderr.startswith(
        f"error: --out {Path('runs/matrix_sequence')} is in use by process {first.pid} on "
    )
    assert second.stderr.count("\n") == 1
    first.kill()
    _, err = first.communicate(timeout=120)  # until the run has closed them, too
    assert err == "SIGTERM: ending after this chunk; Ctrl-C again leaves at once\n"
    run = store(tmp_path / "run", rows(FIRST))
    inside = study("matrix_sequence", "--methods", "none", "--out", "run")
    assert (inside.returncode, inside.stdout) == (REFUSED, "")
    assert inside.stderr == (
        "error: --out run is refused: it holds a run (config.yaml, metrics.jsonl); "
        "choose a folder for the study alone\n"
    )
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "metrics.jsonl"]
    file = tmp_path / "file"
    file.write_text("mine")
    third = study("matrix_sequence", "--methods", "none", "--out", "file")
    assert (third.returncode, third.stdout) == (REFUSED, "")
    assert third.stderr == "error: --out file cannot be written: File exists\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_at_hand_and_the_study(start, number):
    process = start("matrix_sequence", "--methods", "none,redo,wider", waits="redo")
    while process.stdout.readline() != "waiting\n":
        assert process.poll() is None
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert trained(out) == [] and "report" not in out
    assert err.splitlines() == [
        f"{number.name}: ending after this chunk; Ctrl-C again leaves at once",
        "interrupted: the same command goes on from here",
    ]


def test_the_command_line_is_refused_in_one_line_or_explained(study):
    done = study("matrix", "--methods", "none")
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert done.stderr.startswith("error: experiment=matrix is refused (did you mean ")
    assert done.stderr.count("\n") == 1
    for words, told in {
        ("--resume",): "unrecognized arguments: --resume; see --help",
        ("--method=none",): "unrecognized arguments: --method=none; did you mean '--methods'?",
    }.items():
        done = study("matrix_sequence", *words)
        assert (done.stdout, done.stderr) == ("", f"error: {told}\n")
    done = study("--help")
    assert "matrix_sequence, matrix_shared, predator_prey_sequence" in " ".join(done.stdout.split())
    assert done.stderr == ""
