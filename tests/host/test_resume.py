"""Runs that go on: from where, whether they may, and what they leave. The program is the fake."""

import json
import os
import shutil
import signal
import time
from contextlib import closing
from pathlib import Path

import fake_program
import jax.numpy as jnp
import numpy as np
import pytest
from omegaconf import OmegaConf
from stored import end_of, rows_of

from knife_jax.config.run import EvaluationConfig
from knife_jax.config.schema import ConfigError
from knife_jax.host.loop import train
from knife_jax.records.checkpoint import SCHEMA, Checkpoints
from knife_jax.records.reading import json_sum


@pytest.fixture(autouse=True)
def program(monkeypatch):
    fake_program.install(monkeypatch)


def config(run: Path, **changes):
    return fake_program.config(run_dir=str(run), checkpoint_every=200, keep=9, **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 1000 steps with a checkpoint after each chunk of 200."""
    run = tmp_path_factory.mktemp("trained") / "straight"
    with pytest.MonkeyPatch.context() as monkeypatch:
        fake_program.install(monkeypatch)
        assert train(config(run)) == 0
    return run


@pytest.fixture
def straight(trained, tmp_path):
    """A copy of this run."""
    return Path(shutil.copytree(trained, tmp_path / "straight"))


def cut(run: Path, at: int) -> Path:
    """A copy of the run as it was killed some time after the checkpoint ``at``."""
    copy = run.with_name(f"cut{at}")
    shutil.copytree(run, copy)
    for path in (copy / "checkpoints").iterdir():
        if int(path.name) > at:
            shutil.rmtree(path)
    for name in ("params.safetensors", "curve.png"):
        (copy / name).unlink()
    return copy


@pytest.mark.parametrize("at", [200, 800])
def test_a_killed_run_goes_on_and_leaves_what_an_undisturbed_one_leaves(straight, at, capsys):
    killed = cut(straight, at)
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"torn')
    capsys.readouterr()
    assert train(config(killed, resume="auto")) == 0
    assert f"going on from checkpoint {at:,} of {killed}" in capsys.readouterr().out
    assert end_of(killed) == end_of(straight)
    assert (killed / "params.safetensors").read_bytes() != b""
    a, b = (json.loads((run / "summary.json").read_text()) for run in (killed, straight))
    for name in ("status", "final_return", "surgeries", "units_operated", "env_steps", "updates"):
        assert a[name] == b[name]
    assert a["wall_seconds"] > 0 and a["train_seconds"] > 0


def test_resume_auto_begins_where_there_is_nothing_yet(tmp_path, straight):
    assert train(config(tmp_path / "new", resume="auto")) == 0
    assert end_of(tmp_path / "new") == end_of(straight)


def test_a_complete_run_is_left_complete(straight):
    before = end_of(straight)
    assert train(config(straight, resume="auto")) == 0
    assert end_of(straight) == before


def test_a_larger_budget_goes_on(straight, tmp_path, capsys):
    assert train(config(straight, resume="auto", env_steps=1600)) == 0
    steps = [row["env_steps"] for row in rows_of(straight) if row["kind"] == "train"]
    assert steps == [s for s in range(200, 1601, 200) for _ in range(3)]
    assert OmegaConf.load(straight / "config.yaml").env_steps == 1600


def test_from_elsewhere_the_old_run_stays_as_it_is(straight, tmp_path):
    before = {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()}
    source = straight / "checkpoints" / "400"
    assert train(config(tmp_path / "branch", resume=str(source))) == 0
    assert {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()} == before
    assert end_of(tmp_path / "branch") == end_of(straight)
    assert train(config(tmp_path / "same", resume=str(straight))) == 0
    assert train(config(tmp_path / "same", resume="auto")) == 0  # it has a checkpoint of its own
    assert end_of(tmp_path / "same") == end_of(straight)
    assert train(config(tmp_path / "other", resume=str(straight), env_steps=1200)) == 0
    assert rows_of(tmp_path / "other")[:33] == rows_of(straight)[:33]
    assert (tmp_path / "other" / "checkpoints" / "400").is_dir(), "the best one comes along"
    assert "absolute" in {row["kind"] for row in rows_of(tmp_path / "other")}


def test_damaged_checkpoints_are_skipped_with_a_line_each(straight, capsys):
    expected = end_of(straight)
    killed = cut(straight, 800)
    shutil.rmtree(killed / "checkpoints" / "800" / "about")
    data = next((killed / "checkpoints" / "600" / "state" / "d").iterdir())
    data.write_bytes(data.read_bytes()[:-5])
    capsys.readouterr()
    assert train(config(killed, resume="auto")) == 0
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert first.startswith("warning: checkpoint 800 is skipped: its description cannot be read")
    assert second.startswith("warning: checkpoint 600 is skipped: its arrays ")
    assert "going on from checkpoint 400" in out
    assert end_of(killed) == expected
    assert (killed / "checkpoints" / "800.aside").is_dir()


def test_on_other_devices_episodes_begin_anew_and_learning_waits(straight, tmp_path, capsys):
    killed, seen = cut(straight, 400), []
    fake_program.SEEN_CLOCK = seen.append
    try:
        assert train(config(killed, resume="auto", devices=2)) == 0
    finally:
        fake_program.SEEN_CLOCK = None
    assert [int(clock.replay_since) for clock in seen] == [4] * 3
    told = capsys.readouterr().err
    assert "was split over 1 devices and is now over 2: episodes begin anew" in told
    with closing(Checkpoints(killed / "checkpoints")) as stored:
        about = stored.about(1000)
        arrays = stored.arrays(1000, about)
    assert about["mesh"] == {"seed": 1, "data": 2}
    np.testing.assert_array_equal(arrays["state/actor/at"], np.arange(6).reshape(3, 2))
    assert not np.any(arrays["state/replay/rows"])
    np.testing.assert_array_equal(arrays["state/agent/kernel"][:, 0], [5, 6, 7])


def test_without_the_replay_learning_waits_for_a_new_one(straight, tmp_path, capsys):
    run = tmp_path / "light"
    assert train(config(run, env_steps=400, buffer="none")) == 0
    with_replay, without = (
        sum(f.stat().st_size for f in (r / "checkpoints" / "400").rglob("*") if f.is_file())
        for r in (straight, run)
    )
    assert without < with_replay / 2
    seen = []
    fake_program.SEEN_CLOCK = seen.append
    try:
        assert train(config(run, resume="auto", buffer="none")) == 0
    finally:
        fake_program.SEEN_CLOCK = None
    assert [int(clock.replay_since) for clock in seen] == [4] * 3
    assert "holds no replay: learning waits until it is filled again" in capsys.readouterr().err


REFUSED = {
    "num_seeds=3 (here 2)": {"num_seeds": 2},
    "seed=5 (here 6)": {"seed": 6},
    "env.scenario=3m (here 2s3z)": {"scenario": "2s3z"},
    "algo.hidden=64 (here 32)": {"hidden": 32},
    "algo.gamma=0.99 (here 0.9)": {"gamma": 0.9},
}


@pytest.mark.parametrize(
    ("text", "where"), [*((text, "auto") for text in REFUSED), (next(iter(REFUSED)), "elsewhere")]
)
def test_another_run_is_refused_by_the_fields_that_differ(straight, tmp_path, capsys, text, where):
    before = {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()}
    here = where == "auto"
    wanted = config(
        straight if here else tmp_path / "new", resume="auto" if here else str(straight),
        **REFUSED[text],
    )  # fmt: skip
    capsys.readouterr()
    assert train(wanted) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and line.endswith(f"another run: {text}")
    assert {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "new").exists()


def edited(run: Path, change) -> None:
    """Change the descriptions of all checkpoints, sums included."""
    for path in (run / "checkpoints").glob("*/about/metadata"):
        about = json.loads(path.read_text())["about"]
        change(about)
        path.write_text(json.dumps({"about": about, "sum": json_sum(about)}))


def test_another_schema_is_refused(straight, capsys):
    edited(straight, lambda about: about.update(schema=99))
    assert train(config(straight, resume="auto")) == 2
    assert f"checkpoint 1,000 has schema 99: must be {SCHEMA}" in capsys.readouterr().err


def test_another_network_is_refused_by_its_arrays(straight, capsys):
    name = "state/agent/kernel"
    edited(straight, lambda about: about["arrays"][name].update(shape=[3, 4]))
    assert train(config(straight, resume="auto")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    there_and_here = "is [[3, 4], 'float32'] there and [[3, 2], 'float32'] here"
    assert line == f"error: checkpoint 1,000 is of another network: {name} {there_and_here}"


def test_other_versions_are_told(straight, capsys):
    edited(straight, lambda about: about["versions"].update(jax="0.0.1"))
    assert train(config(straight, resume="auto")) == 0
    assert "the checkpoint was made with jax=0.0.1 (here " in capsys.readouterr().err


def test_what_cannot_be_resumed_is_refused_in_one_line(tmp_path, capsys):
    assert train(config(tmp_path / "new", resume=str(tmp_path / "none"))) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "must be auto, a run directory or a checkpoint" in err
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigError, match="resume=auto is refused: write run_dir="):
        fake_program.config(resume="auto")


def test_an_interrupted_evaluation_is_made_up_for(straight, tmp_path):
    """A signal that comes while a chunk runs leaves out the evaluation then due."""

    def interrupt(clock):
        if int(clock.rounds) == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.5)  # a thread of its own takes note

    run = tmp_path / "stopped"
    fake_program.SEEN_CLOCK = interrupt
    try:
        assert train(config(run)) == 128 + signal.SIGUSR1
    finally:
        fake_program.SEEN_CLOCK = None
    assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
    assert rows_of(run)[-1]["kind"] == "train" and rows_of(run)[-1]["env_steps"] == 400
    assert train(config(run, resume="auto")) == 0
    assert end_of(run) == end_of(straight)


def test_a_diverged_seed_is_frozen_named_and_left_out(tmp_path, capsys):
    fake_program.LOST_FROM = {1: 600}
    try:
        run = tmp_path / "run"
        assert train(config(run)) == 0
    finally:
        fake_program.LOST_FROM = {}
    err = capsys.readouterr().err
    assert err == (
        "warning: seed 6 has diverged between 400 and 600 env steps: it is frozen, "
        "the others go on\n"
    )
    rows = rows_of(run)
    of_6 = [(row["kind"], row["env_steps"]) for row in rows if row["seed"] == 6]
    assert of_6 == [
        ("surgery", 200), ("train", 200), ("surgery", 400), ("train", 400), ("eval", 400),
        ("train", 600),
    ]  # fmt: skip
    assert [row["env_steps"] for row in rows if row.get("diverged")] == [600]
    assert sum(row["seed"] == 7 for row in rows) == 5 + 5 + 3 + 2
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "complete" and summary["diverged_at"] == [None, 400, None]
    assert summary["final_return"] == summary["absolute_return"] == [3.0, None, 23.0]


def test_a_bad_seed_that_diverges_makes_no_new_best(tmp_path):
    """Without it the mean over seeds rises from 13 to 18."""
    fake_program.LOST_FROM = {0: 600}
    try:
        assert train(config(tmp_path / "run")) == 0
    finally:
        fake_program.LOST_FROM = {}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["best_env_steps"] == 400


def test_without_its_best_checkpoint_a_run_has_no_absolute_metric_but_a_warning(straight, capsys):
    steps = lambda kind: {r["env_steps"] for r in rows_of(straight) if r["kind"] == kind}  # noqa: E731
    assert steps("absolute") == {400}
    shutil.rmtree(straight / "checkpoints" / "400" / "about")
    capsys.readouterr()
    assert train(config(straight, resume="auto")) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no absolute metric: the best checkpoint, 400, cannot be used:")
    summary = json.loads((straight / "summary.json").read_text())
    assert summary["absolute_return"] == [None] * 3 and summary["best_env_steps"] is None
    assert steps("absolute") == set() and steps("final") == {1000}


def test_a_signal_while_the_end_is_evaluated_leaves_it_for_later(straight, monkeypatch):
    expected, seen = end_of(straight), []
    monkeypatch.setattr(fake_program, "SEEN_EVALUATION", lambda: seen.append(1) or stop(seen))

    def stop(seen):
        if len(seen) == 5:  # of 1 and 10
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.5)

    assert train(config(straight, resume="auto")) == 128 + signal.SIGUSR1
    assert len(seen) == 5
    assert json.loads((straight / "summary.json").read_text())["status"] == "interrupted"
    monkeypatch.setattr(fake_program, "SEEN_EVALUATION", lambda: None)
    assert train(config(straight, resume="auto")) == 0
    assert end_of(straight) == expected


def test_when_all_seeds_have_diverged_the_run_ends(tmp_path, capsys):
    fake_program.LOST_FROM = {0: 400, 1: 600, 2: 600}
    try:
        assert train(config(tmp_path / "run")) == 3
    finally:
        fake_program.LOST_FROM = {}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "diverged" and summary["env_steps"] == 600
    assert summary["diverged_at"] == [200, 400, 400]


def test_the_budget_of_evaluations_may_change(straight):
    evaluation = EvaluationConfig(every=200, episodes=3)
    killed = cut(straight, 400)
    assert train(config(killed, resume="auto", evaluation=evaluation)) == 0
    assert [r["env_steps"] for r in rows_of(killed) if r["kind"] == "eval" and r["seed"] == 5] == [
        400, 600, 800, 1000,
    ]  # fmt: skip


def test_stored_arrays_are_those_of_the_state(straight):
    from contextlib import closing

    from knife_jax.records.checkpoint import Checkpoints

    with closing(Checkpoints(straight / "checkpoints")) as stored:
        arrays = stored.arrays(600, stored.about(600))
    np.testing.assert_array_equal(arrays["state/agent/kernel"], [[5, 5], [6, 6], [7, 7]])
    assert arrays["clock/rounds"] == 6 and jnp.asarray(arrays["clock/updates"]) == 12
    rows = arrays["metrics"].tobytes().decode().splitlines()
    assert json.loads(rows[-1])["env_steps"] == 600
