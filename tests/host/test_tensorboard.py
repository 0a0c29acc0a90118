"""TensorBoard's event files, read by TensorBoard's own reader, against ``metrics.jsonl``."""

import json
import shutil
import warnings
from dataclasses import replace

import fake_program
import numpy as np
import pytest

from knife_jax.cli import compose
from knife_jax.config.run import LoggerConfig
from knife_jax.host.loop import train
from knife_jax.records.lines import IDENTITY, read_records
from knife_jax.sinks import tensorboard

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

LOGGER = LoggerConfig(wandb="disabled", tensorboard=True, table=False)


def loaded(folder):
    """All scalars of one folder by TensorBoard: tag -> [(step, value)]."""
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    assert reader.Tags()["images"] == []
    return {
        tag: [(event.step, event.value) for event in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }


def expected(run, seed=None):
    """The scalars of a seed by the metrics, or their means over the seeds that have one."""
    out = {}
    for record in read_records(run / "metrics.jsonl"):
        if seed in (None, record["seed"]):
            for name in [n for n in record if n not in IDENTITY or n in ("updates", "task")]:
                points = out.setdefault(f"{record['kind']}/{name}", {})
                if record[name] is not None:
                    points.setdefault(record["env_steps"], []).append(record[name])
    means = {
        tag: [(step, pytest.approx(np.mean(values))) for step, values in points.items()]
        for tag, points in out.items()
    }
    return {tag: points for tag, points in means.items() if points}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three seeds, stopped at 600, resumed from 400 as if killed, stopped, resumed."""
    folder = tmp_path_factory.mktemp("tensorboard") / "run"
    with pytest.MonkeyPatch.context() as patch:
        fake_program.install(patch)
        config = fake_program.config(run_dir=str(folder), logger=LOGGER, checkpoint_every=200)
        assert train(replace(config, env_steps=600)) == 0
        shutil.rmtree(folder / "checkpoints" / "600")
        again = replace(config, resume="auto")
        assert train(replace(again, env_steps=800)) == 0
        assert train(again) == 0
    return folder


@pytest.mark.parametrize("name", ["seed5", "seed6", "seed7", "mean"])
def test_each_step_stands_once_with_the_values_of_the_metrics(run, name):
    scalars = loaded(run / "tensorboard" / name)
    assert scalars == expected(run, int(name[4:]) if name != "mean" else None)
    assert [step for step, _ in scalars["train/return"]] == [200, 400, 600, 800, 1000]
    assert {"eval/win_rate", "surgery/units_operated", "final/return"} <= {*scalars}
    if name != "mean":
        assert scalars["train/return"][-1] == (1000, 10 + int(name[4:]) - 5)
        assert ("train/loss" in scalars) == (name != "seed6")  # it has none that is finite


def test_the_files_of_earlier_processes_are_replaced(run):
    files = [path for path in (run / "tensorboard").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {tensorboard.FILE}
    assert {path.parent.name for path in files} == {"seed5", "seed6", "seed7", "mean"}


def test_the_configuration_is_shown_without_the_place(run):
    reader = EventAccumulator(str(run / "tensorboard" / "mean"))
    reader.Reload()
    (shown,) = reader.Tensors("config/text_summary")
    text = shown.tensor_proto.string_val[0].decode()
    assert "    env_steps: 1000\n" in text and "qmix_knife" in text and str(run) not in text


def test_times_go_on_over_resumptions(run):
    reader = EventAccumulator(str(run / "tensorboard" / "mean"))
    reader.Reload()
    times = [event.wall_time for event in reader.Scalars("train/return")]
    rows = read_records(run / "metrics.jsonl")
    by_metrics = [row["wall_time"] for row in rows if (row["kind"], row["seed"]) == ("train", 5)]
    assert np.diff(times) == pytest.approx(np.diff(by_metrics), abs=1e-5)


def test_a_watching_reader_forgets_what_was_replaced(tmp_path):
    """Event files are replaced while TensorBoard watches: it does not draw lines back."""
    record = {"kind": "train", "seed": 0, "updates": 0, "task": 0, "wall_time": 1.0}
    config = fake_program.config(num_seeds=1, seed=0)
    metrics = tmp_path / "metrics.jsonl"
    rows = [record | {"env_steps": 10 * i, "return": i / 2} for i in (1, 2, 3)]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tensorboard.open_tensorboard(config, tmp_path, 0.0).close()
    (only,) = (tmp_path / "tensorboard").iterdir()
    assert only.name == "seed0"
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows[:1]))
    sink = tensorboard.open_tensorboard(config, tmp_path, 0.0)
    sink.write([rows[1] | {"return": 7.0}])
    assert loaded(only)["train/return"] == [(10, 0.5), (20, 7.0)]
    sink.close()


def test_event_files_that_a_resumed_run_has_left_behind_are_not_named(
    tmp_path, monkeypatch, capsys
):
    fake_program.install(monkeypatch)
    config = fake_program.config(run_dir=str(tmp_path / "run"), logger=LOGGER)
    hint = f"to look at: tensorboard --logdir {tmp_path / 'run' / 'tensorboard'}"
    assert train(replace(config, env_steps=600)) == 0 and hint in capsys.readouterr().out
    local = replace(LOGGER, tensorboard=False)
    assert train(replace(config, resume="auto", logger=local)) == 0
    assert "to look at" not in capsys.readouterr().out


def test_the_words_of_the_logger():
    logger = compose(["logger=tensorboard"]).logger
    assert (logger.wandb, logger.tensorboard) == ("disabled", True)
    both = compose(["logger=wandb", "logger.tensorboard=true"]).logger
    assert (both.wandb, both.tensorboard) == ("online", True)


def test_a_missing_writer_is_one_line_before_anything_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    folder = tmp_path / "run"
    assert train(fake_program.config(run_dir=str(folder), logger=LOGGER)) == 2
    told = "logger.tensorboard=true is refused: tensorboardX is not installed"
    assert capsys.readouterr().err == f"error: {told} (pip install tensorboardX)\n"
    assert not folder.exists()
