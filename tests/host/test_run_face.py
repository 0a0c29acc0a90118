"""``knife_jax.train`` and ``Run``: what a run has left, and how one that ends early says so."""

import os
import signal
import sys
from dataclasses import replace

import fake_program
import numpy as np
import pytest
from fake_runs import FIRST, rows, store

import knife_jax
from knife_jax.config.schema import ConfigError
from knife_jax.host import loop


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A run of known numbers: seeds 5, 6, 7, 1000 env steps, chunks of 200."""
    fake_program.install(monkeypatch)
    small = fake_program.config(run_dir=str(tmp_path / "run"))
    return replace(small, logger=replace(small.logger, table=False))


def test_a_run_has_its_numbers_as_arrays_and_as_a_frame(config):
    run = knife_jax.train(config)
    assert (run.status, run.seeds, str(run.dir)) == ("complete", [5, 6, 7], config.run_dir)
    assert run.config == config and os.fspath(run) == config.run_dir
    assert run.summary["final_return"] == [3.0, 13.0, 23.0]
    train = run.metrics()
    assert train["seed"].tolist() == [5, 6, 7]
    assert train["env_steps"].tolist() == [200, 400, 600, 800, 1000]
    assert train["env_steps"].dtype == train["updates"].dtype == int
    expected = np.arange(2, 11, 2)[None] + np.arange(3)[:, None]  # env_steps / 100 + s
    np.testing.assert_array_equal(train["return"], expected)
    assert np.isnan(train["loss"][1]).all() and (train["loss"][2] == 2.5).all()
    evaluated = run.metrics("eval")
    assert evaluated["env_steps"].tolist() == [400, 800, 1000] and "task" not in evaluated
    assert evaluated["return"].shape == (3, 3)
    empty = run.metrics("probe")
    assert empty["env_steps"].shape == (0,) and empty["env_steps"].dtype == int
    frame = run.frame("surgery")
    assert frame["units_operated"].tolist() == [3, 4, 5] * 5
    assert len(run.frame()) == len(run.records)
    with pytest.raises(ValueError, match="kind=evil is refused: must be one of surgery, train"):
        run.metrics("evil")
    np.testing.assert_array_equal(run.metrics("eval", task=0)["return"], evaluated["return"])
    for kind in ("eval", "train"):
        with pytest.raises(ValueError, match="task=3 is refused: must be a whole number, at least"):
            run.metrics(kind, task=3)
    (run.dir / "summary.json").unlink()
    assert run.status is None and run.metrics()["return"].tolist() == expected.tolist()
    with pytest.raises(knife_jax.RunError, match=r"run: there is no summary\.json$"):
        run.summary["final_return"]


@pytest.mark.parametrize(
    ("kind", "task", "fits"),
    [("eval", 1, True), ("eval", 2, False), ("train", 7, True), ("train", -1, False)],
)
def test_tasks_of_a_sequence_come_again_in_training_with_new_numbers(tmp_path, kind, task, fits):
    run = knife_jax.Run(store(tmp_path / "run", rows(FIRST), sequence(n_tasks=2)))
    if fits:
        run.metrics(kind, task=task)
    else:
        with pytest.raises(ValueError, match=f"task={task} is refused: must be a whole number"):
            run.metrics(kind, task=task)


def sequence(n_tasks):
    return knife_jax.compose("experiment=matrix_sequence", f"env.n_tasks={n_tasks}")


def test_without_pandas_one_line_says_what_to_install(config, monkeypatch):
    run = knife_jax.train(config)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"^Run\.frame needs pandas: pip install pandas$"):
        run.frame()


def test_a_second_run_in_a_folder_is_refused_and_the_first_one_stays(config):
    run = knife_jax.train(config)
    records = run.records
    with pytest.raises(knife_jax.RunError, match="holds a run already"):
        knife_jax.train(config)
    assert run.records == records


def test_a_configuration_that_cannot_run_here_raises_and_leaves_nothing(config, tmp_path):
    with pytest.raises(ConfigError, match=r"env\.n_envs=2000000000 is refused"):
        knife_jax.train(replace(config, env=replace(config.env, n_envs=2 * 10**9)))
    assert not (tmp_path / "run").exists()


def test_a_run_whose_seeds_have_all_diverged_is_a_result(config, monkeypatch):
    monkeypatch.setattr(fake_program, "LOST_FROM", dict.fromkeys(range(3), 400))
    assert knife_jax.train(config).status == "diverged"


def test_a_run_that_breaks_off_raises_one_line_and_keeps_what_it_has(config, monkeypatch):
    monkeypatch.setattr("knife_jax.host.loop.train_chunk", broken_at_once)
    with pytest.raises(knife_jax.RunError, match=r"^the loss of seed 6 is NaN$"):
        knife_jax.train(config)
    assert knife_jax.Run(config.run_dir).status == "failed"


def broken_at_once(run, sinks):
    raise FloatingPointError("the loss of seed 6 is NaN")


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_does_what_it_does_once_all_is_saved(config, monkeypatch, number, raised):
    pressed = []

    def press(clock):
        if not pressed:
            pressed.append(os.kill(os.getpid(), number))

    monkeypatch.setattr(fake_program, "SEEN_CLOCK", press)
    before = signal.getsignal(number)
    with pytest.raises(raised):
        knife_jax.train(config)
    run = knife_jax.Run(config.run_dir)
    assert run.status == "interrupted" and 0 < run.summary["checkpoint"] < 1000
    assert signal.getsignal(number) == before


def test_a_folder_without_a_run_and_a_damaged_one_are_named(config, tmp_path):
    with pytest.raises(knife_jax.RunError, match="nowhere is refused: must be a run directory"):
        knife_jax.load(tmp_path / "nowhere")
    run = knife_jax.train(config)
    (run.dir / "summary.json").write_text("{")
    with pytest.raises(knife_jax.RunError, match=r"run: summary\.json cannot be read"):
        run.summary  # noqa: B018
    (run.dir / "config.yaml").write_text("seed: 1")
    with pytest.raises(knife_jax.RunError, match=r"run: config\.yaml is not the configuration"):
        knife_jax.load(run)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_a_signal_stops_at_once_and_python_goes_on(config, monkeypatch, first):
    goes_on = []

    def press(run, sinks):
        os.kill(os.getpid(), first)
        os.kill(os.getpid(), signal.SIGINT)
        goes_on.append(run)

    monkeypatch.setattr(loop, "train_chunk", press)
    monkeypatch.setattr(signal, "raise_signal", lambda number: None)  # who waited for SIGTERM
    with pytest.raises(KeyboardInterrupt):
        knife_jax.train(config)
    assert goes_on == []


def test_a_run_is_complete_whatever_ends_its_recording(config, monkeypatch):
    def interrupted(watched, info):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "ending_of", lambda *_: "the last policy")
    monkeypatch.setattr(loop, "leave_recording", interrupted)
    with pytest.raises(KeyboardInterrupt):
        knife_jax.train(config)
    run = knife_jax.Run(config.run_dir)
    assert run.status == "complete" and run.summary["final_return"] == [3.0, 13.0, 23.0]
