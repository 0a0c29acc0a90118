"""The W&B Report on a study, held to W&B's own classes; W&B itself is not reached."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
import wandb_history
from fake_runs import FIRST, FRESH, SECOND, rows, store
from tiny import tiny_config

from knife_jax.cli import compose, report_wandb
from knife_jax.config.run import LoggerConfig
from knife_jax.records.compare import config_hash
from knife_jax.records.directory import write_json
from knife_jax.report import wandb_panels, wandb_publish
from knife_jax.report.table import SHOWN
from knife_jax.sinks.wandb import open_wandb

KEY = "planted-4f6c1d0e9b"

COMMIT = "0123456789" * 4


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three methods; W&B knows the run of one."""
    out = tmp_path_factory.mktemp("studies") / "mine"
    for name, scores in {"none": SECOND, "redo": FIRST, "fresh_per_task": FRESH}.items():
        algo = "algo=qmix" if name == "none" else f"algo=qmix_{name}"
        config = compose(["experiment=matrix_sequence", algo])
        store(out / name, rows(scores, FIRST, optimum=[9, 9, 12]), config)
        about = {"status": "complete", "config_hash": config_hash(config)}
        write_json(out / name / "summary.json", about | {"versions": {"git_commit": COMMIT}})
    (out / "redo" / "wandb" / "offline-run-20261127_100000-abc123").mkdir(parents=True)
    return out


def call(monkeypatch, *words, signed_in=False):
    monkeypatch.setattr(wandb_publish, "_signed_in", lambda: signed_in)
    monkeypatch.setattr(sys, "argv", ["report.wandb", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        report_wandb.main()
    return ended.value.code


@pytest.fixture
def sent(study, tmp_path, monkeypatch):
    """What would be sent."""
    out = tmp_path / "new" / "report.json"
    assert call(monkeypatch, study, "--project", "p", "--entity", "e", "--out", out) == 0
    return json.loads(out.read_text())


def read_back(sent):
    """The report as W&B's own classes read what they would get from the server."""
    spec = json.loads(sent["spec"])
    view = {"id": "x", "name": "n", "displayName": sent["displayName"], "spec": spec}
    view |= {"description": sent["description"], "project": {"name": "p", "entityName": "e"}}
    model = wandb_panels.wr.Report._from_model
    return model(wandb_panels.wr.internal.ReportViewspec.model_validate(view))


def test_it_survives_a_round_trip_through_the_classes_of_wandb(sent, study):
    report = read_back(sent)
    assert (sent["projectName"], sent["entityName"], sent["type"]) == ("p", "e", "runs")
    model = report._to_model().spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert model["blocks"] == json.loads(sent["spec"])["blocks"]
    assert report.title == "matrix_sequence: fresh_per_task, none, redo"
    markdown, *_ = (b for b in report.blocks if isinstance(b, wandb_panels.wr.MarkdownBlock))
    for name in ("none", "redo", "fresh_per_task"):
        assert f"| `{name}` | " in markdown.text
    code = next(b for b in report.blocks if isinstance(b, wandb_panels.wr.CodeBlock)).code
    assert "python -m knife_jax.study matrix_sequence --methods fresh_per_task,none,redo" in code
    assert f"python -m knife_jax.report.wandb {study}" in code
    assert f"# git_commit {COMMIT}" in code  # though it looks like a key


def test_there_is_a_panel_for_every_metric_of_the_table(sent):
    curves, recordings = (
        b for b in read_back(sent).blocks if isinstance(b, wandb_panels.wr.PanelGrid)
    )
    columns = {*SHOWN.values(), "largest churn", "units operated"}
    listed = [t for p in curves.panels for t in p.title.partition(" (")[2][:-1].split("; ")]
    assert sorted(listed) == sorted(columns)
    assert {panel.y[0].name for panel in curves.panels} == {
        "eval/return", "stagnant_pct", "dormant_pct", "surgery/churn_max",
        "surgery/units_operated",
    }  # fmt: skip
    for panel in curves.panels:
        assert panel.metric_regex == rf"^seed\d+/{panel.y[0].name}$"
        assert (panel.groupby_aggfunc, panel.groupby_rangefunc) == ("mean", "minmax")
        assert panel.x.name == "env_steps"
    assert [panel.range_x for panel in curves.panels][:2] == [(None, None), (45.0, 60.0)]
    places = [(panel.layout.x, panel.layout.y) for panel in curves.panels]
    assert len({*places}) == len(places)
    assert recordings.panels[0].media_keys == ["recording"]


def test_run_sets_are_found_by_id_else_by_name(sent):
    grid = next(b for b in read_back(sent).blocks if isinstance(b, wandb_panels.wr.PanelGrid))
    filters = {s.name: s._to_model().filters["filters"][0] for s in grid.runsets}
    found = {name: (f["key"]["name"], f["op"], f["value"]) for name, f in filters.items()}
    assert found == {
        "none": ("displayName", "IN", ["none"]),
        "redo": ("name", "IN", ["abc123"]),
        "fresh_per_task": ("displayName", "IN", ["fresh_per_task"]),
    }


def test_without_a_key_it_is_a_file_and_one_line(study, monkeypatch, capsys):
    assert call(monkeypatch, study, "--project", "p") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(
        f"{study}/wandb_report.json: what would be sent; to publish it: wandb login"
    )
    (study / "wandb_report.json").unlink()


def test_with_a_key_it_is_saved_and_a_refusal_is_one_line(study, monkeypatch, capsys):
    saved = []
    monkeypatch.setattr(wandb_panels.wr.Report, "save", lambda self: saved.append(self))
    monkeypatch.setattr(wandb_panels.wr.Report, "url", "https://somewhere/report")
    assert call(monkeypatch, study, "--project", "p", "--entity", "e", signed_in=True) == 0
    assert len(saved) == 1 and "published: https://somewhere/report" in capsys.readouterr().out

    def refuse(self):
        raise ValueError(f"no project\nfor {KEY}")

    monkeypatch.setenv("FAKE_API_KEY", KEY)
    monkeypatch.setattr(wandb_panels.wr.Report, "save", refuse)
    assert call(monkeypatch, study, "--project", "p", "--entity", "e", signed_in=True) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    left = study / "wandb_report.json"
    assert told == (
        f"error: not published, what would be sent is in {left}: ValueError: no project for ***"
    )
    assert json.loads(left.read_text())["entityName"] == "e"
    left.unlink()


def test_a_secret_in_a_word_does_not_reach_the_file(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_API_KEY", KEY)
    assert (
        call(monkeypatch, study, "--project", "p", "--out", tmp_path / f"x-{KEY}" / "r.json") == 0
    )
    assert KEY not in (tmp_path / f"x-{KEY}" / "r.json").read_text()
    assert KEY not in capsys.readouterr().out


def test_a_secret_in_the_name_of_a_folder_does_not_reach_the_file(study, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_API_KEY", KEY)
    shutil.copytree(study, tmp_path / "mine")
    (tmp_path / "mine" / "none").rename(tmp_path / "mine" / f"none-{KEY}")
    out = tmp_path / "report.json"
    assert call(monkeypatch, tmp_path / "mine", "--project", "p", "--out", out) == 0
    assert "none-***" in out.read_text() and KEY not in out.read_text()
    folder = tmp_path / "mine" / f"none-{KEY}"  # so is the run called that the run set looks for
    config = replace(tiny_config(), logger=LoggerConfig(wandb="offline", table=False))
    open_wandb(config, folder).close()
    records = wandb_history.records(wandb_history.offline(folder))
    assert [record.run.display_name for record in records if record.HasField("run")] == ["none-***"]


def test_what_is_missing_is_one_line(study, tmp_path, monkeypatch, capsys):
    assert call(monkeypatch, tmp_path, "--project", "p") == 2
    assert "there is no run that came to its end" in capsys.readouterr().err
    monkeypatch.setattr(wandb_publish, "find_spec", lambda name: None)
    assert call(monkeypatch, study, "--project", "p") == 2
    told = "error: wandb-workspaces is not installed: pip install 'knife_jax[report]'\n"
    assert capsys.readouterr().err == told
