"""Damaged records: each is named with its reason, and never brings down the others."""

import json
import random
import shutil
from pathlib import Path

import pytest
from fake_runs import FIRST, FRESH, SECOND, rows, store

from knife_jax.cli import compose
from knife_jax.records.compare import config_hash
from knife_jax.records.directory import write_json
from knife_jax.records.lines import RecordError, parsed, read_records
from knife_jax.records.reading import SUM, computed, read_run, records_sum, sealed
from knife_jax.records.series import over_tasks
from knife_jax.report import write
from knife_jax.report.load import load

CONFIG = compose(["experiment=matrix_sequence", "seed=3", "num_seeds=2"])
SURGERY = {"units_operated": 1, "churn_max": None}


def row(kind="train", seed=0, steps=10, **values):
    stamp = {"env_steps": steps, "updates": steps // 5, "task": 0, "wall_time": 0.5}
    return {"kind": kind, "seed": seed, **stamp, **values}


def text(*content):
    return "".join(json.dumps(line) + "\n" for line in content).encode()


def test_a_torn_last_line_is_dropped_with_a_warning(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    whole = text(row(), row(seed=1))
    for torn in (b'{"kind": "tr', b"\0" * 40, b'{"kind": "\xc3', b"]\n", b"[" * 100_000):
        path.write_bytes(whole + torn)
        assert read_records(path) == [row(), row(seed=1)]
        assert capsys.readouterr().err == (
            f"warning: {path}: its last line is torn and is dropped\n"
        )
    path.write_bytes(whole.rstrip(b"\n") + b"\n\n")
    assert read_records(path) == [row(), row(seed=1)] and capsys.readouterr().err == ""


def test_doubled_rows_are_dropped_with_a_warning(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    surgeries = [row("surgery", steps=n, **SURGERY) for n in (10, 20)]
    tasks = [row("eval", task=k) | {"task": k, "return": 1.0} for k in (0, 1)]
    distinct = [surgeries[0], row(), row(seed=1), *tasks, surgeries[1]]
    path.write_bytes(text(*distinct))
    assert read_records(path) == distinct and capsys.readouterr().err == ""
    later = [line | {"wall_time": 9.5} for line in distinct]
    interleaved = [line for pair in zip(distinct, later, strict=True) for line in pair]
    path.write_bytes(text(*interleaved))
    assert read_records(path) == distinct
    assert capsys.readouterr().err == f"warning: {path}: 6 doubled records are dropped\n"
    path.write_bytes(text(*distinct, row(**{"return": 5.0})))
    assert read_records(path) == distinct
    message = "1 doubled records are dropped, 1 of them with other numbers: two runs wrote here"
    assert capsys.readouterr().err == f"warning: {path}: {message}\n"


def test_rows_out_of_order_are_put_in_order():
    content = [row(seed=s, steps=n) for n in (10, 20, 30) for s in (0, 1)]
    mixed = random.Random(0).sample(content, len(content))
    assert parsed(text(*mixed)).records == content


NO_RECORD = "line 1 of metrics.jsonl is not a record: "
WRONG = {
    b"not json": "line 1 of metrics.jsonl cannot be read (",
    b"\xff\xfe": "line 1 of metrics.jsonl cannot be read (",
    b"[" * 100_000: "line 1 of metrics.jsonl cannot be read (",
    text(row(loss=float("nan"))): "line 1 of metrics.jsonl cannot be read (NaN is not JSON)",
    b"[1, 2]": NO_RECORD + "it has no fields",
    b"{}": NO_RECORD + "kind=None must be one of",
    text(row(kind="evil")): NO_RECORD + "kind='evil' must be one of",
    text(row(seed=True)): NO_RECORD + "seed=True must be a whole number",
    text(row(steps=-5)): NO_RECORD + "env_steps=-5 must be a whole",
    text(row(steps=10**30)): NO_RECORD + "env_steps=1000",
    text(row() | {"task": 1.5}): NO_RECORD + "task=1.5 must be a whole",
    text(row(loss="1")): NO_RECORD + "'loss'='1' must be a number",
    text(row()).replace(b"0.5", b"1e999"): NO_RECORD + "'wall_time'=inf",
    text(row("eval")): NO_RECORD + "return is missing",
    text(row("surgery")): NO_RECORD + "units_operated is missing",
}  # fmt: skip


@pytest.mark.parametrize("line", WRONG, ids=lambda line: repr(line[:20]))
def test_any_other_line_is_named(line):
    with pytest.raises(RecordError) as error:
        parsed(line.rstrip(b"\n") + b"\n" + text(row()))
    assert str(error.value).startswith(WRONG[line]) and "\n" not in str(error.value)


def finish(folder, *scores):
    """A run that has come to its end, with a summary. Returns its folder."""
    content = rows(*scores)
    run = store(folder, content, CONFIG)
    summary = {
        "status": "complete", "config_hash": config_hash(CONFIG), "seeds": [3, 4],
        "versions": {"jax": "1.0"}, "wall_seconds": 2.5, "env_steps": 60,
        "rows_sum": records_sum(parsed((run / "metrics.jsonl").read_bytes()).records),
    }  # fmt: skip
    write_json(run / "summary.json", sealed(summary))
    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    finish(folder / "fresh_per_task", FRESH, FRESH)
    finish(folder / "none", FIRST, SECOND)
    finish(folder / "redo", SECOND, FIRST)
    return folder


@pytest.fixture
def study(finished, tmp_path):
    """A study of three runs, the one called ``none`` to be damaged."""
    shutil.copytree(finished, tmp_path / "study")
    return tmp_path / "study"


def replace(path, old, new, count=1):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, count))


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path):
    path.write_bytes(b"")


def say(run, **changes):
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(sealed(summary | changes)))


def as_folder(path):
    path.unlink()
    path.mkdir()


def as_loop(path):
    path.unlink()
    path.symlink_to(path.name)


def of_another_study(run):
    """A complete run of other sizes."""
    other = compose(["experiment=matrix_sequence", "algo.hidden=13"])
    shutil.rmtree(run)
    store(run, rows(FIRST, SECOND), other)


def longer(run):
    """A complete run of a larger budget."""
    more = [{**line, "env_steps": line["env_steps"] + 60} for line in rows(FIRST, SECOND)]
    shutil.rmtree(run)
    store(run, rows(FIRST, SECOND) + more, CONFIG)


def with_other_scores(run):
    content = rows(FIRST, SECOND, optimum=[8, 8, 10])
    shutil.rmtree(run)
    store(run, content, CONFIG)


def without_some_scores(run):
    content = rows(FIRST, SECOND)
    del content[6]
    shutil.rmtree(run)
    store(run, content, CONFIG)


def remove_all(run):
    shutil.rmtree(run)


def link_to_itself(run):
    shutil.rmtree(run, ignore_errors=True)
    run.symlink_to(run.name)


def stopped(run):
    say(run, status="interrupted")


def in_file(name, damage, *more):
    return lambda run: damage(run / name, *more)


def in_metrics(damage, *more):
    return in_file("metrics.jsonl", damage, *more)


def in_config(damage, *more):
    return in_file("config.yaml", damage, *more)


def in_summary(damage, *more):
    return in_file("summary.json", damage, *more)


ROWS = "the records of metrics.jsonl are not those of summary.json"
NOT_READ = " cannot be read ("
NO_CONFIG = "config.yaml is not the configuration of a run"
DAMAGES = [
    (in_metrics(cut), ROWS),
    (in_metrics(empty), ROWS),
    (in_metrics(Path.unlink), "there is no metrics.jsonl"),
    (in_metrics(as_folder), "metrics.jsonl" + NOT_READ),
    (in_metrics(as_loop), "metrics.jsonl" + NOT_READ),
    (in_metrics(replace, b'"return": 6.0', b'"return": 7.0'), ROWS),
    (in_metrics(replace, b"\n", b"\n{}\n"), "line 2 of metrics.jsonl is not a record"),
    (in_config(replace, b"\nnum_seeds: ", b"\nnum_seeds: ["), "config.yaml" + NOT_READ),
    (in_config(empty), NO_CONFIG),
    (in_config(Path.unlink), "there is no config.yaml"),
    (in_config(Path.write_text, "- 1\n"), NO_CONFIG),
    (in_config(Path.write_bytes, bytes(range(256))), "config.yaml" + NOT_READ),
    (in_config(Path.write_text, "[" * 400), "config.yaml" + NOT_READ),
    (in_config(Path.write_text, "seed: 2026-01-01\n"), "config.yaml" + NOT_READ),
    (in_config(replace, b" hidden: 32", b" hidden: 33"), "config.yaml is not that of summary"),
    (in_summary(cut), "summary.json" + NOT_READ),
    (in_summary(empty), "summary.json" + NOT_READ),
    (in_summary(as_folder), "summary.json" + NOT_READ),
    (in_summary(Path.write_text, "null"), "summary.json is not that of a run"),
    (in_summary(Path.write_text, '{"status": 1}'), "summary.json is not that of a run: status=1"),
    (in_summary(replace, b"2.5", b"3.5"), "summary.json does not match its sum"),
    (of_another_study, "algo.hidden=13 (fresh_per_task 32)"),
    (longer, "evaluated up to 120 of 60 env steps"),
    (with_other_scores, "other tasks or scores than fresh_per_task"),
    (without_some_scores, "every task must be evaluated at the same moments"),
    (remove_all, "there is no metrics.jsonl"),
    (link_to_itself, "metrics.jsonl cannot be read (Too many levels"),
    (stopped, f"evaluated up to 60 of {CONFIG.env_steps:,} env steps, status interrupted"),
]


def _apart(runs):
    """Runs without where they lie."""
    return [run._replace(folders=()) for run in runs]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_damaged_run_is_left_out_by_name(study, finished, damage, reason):
    """The others are as if it were not there, whether it comes first or last."""
    damage(study / "none")
    wanted, notes = load([finished / "fresh_per_task", finished / "redo"])
    assert notes == []
    for order in (("none", "fresh_per_task", "redo"), ("fresh_per_task", "redo", "none")):
        runs, notes = load([study / name for name in order])
        assert len(notes) == 1 and notes[0].startswith(f"none is left out: {reason}"), notes
        assert "\n" not in notes[0] and _apart(runs) == _apart(wanted)


def test_what_is_whole_without_the_damage_is_reported(study, finished, capsys):
    """Rows that are there twice, out of order or torn at the end of a file."""
    wanted, _ = load([finished / "none"])
    path = study / "none" / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for content, note in (
        (lines + lines[3:9], "6 doubled records are dropped"),
        (lines[::-1], None),
        ([*lines, b'{"kind'], "its last line is torn and is dropped"),
    ):
        path.write_bytes(b"".join(content))
        runs, notes = load([study / "none"])
        assert _apart(runs) == _apart(wanted) and notes == (
            [] if note is None else [f"none: {note}"]
        )


def test_a_torn_row_of_the_end_is_dropped_and_one_of_the_course_is_missed(study, finished):
    wanted, _ = load([finished / "none"])
    path, summary = study / "none" / "metrics.jsonl", study / "none" / "summary.json"
    course = path.read_bytes()
    ends = [{**row("final", seed=seed), "return": 1.0} for seed in (3, 4)]
    about = json.loads(summary.read_text()) | {
        "rows": course.count(b"\n") + 2,
        "rows_sum": records_sum(parsed(course + text(*ends)).records),
    }
    write_json(summary, sealed(about))
    for content, left in ((course + text(*ends), 2), (course + text(*ends)[:-9], 1)):
        path.write_bytes(content)
        (run,), notes = load([study / "none"])
        assert run.of("final") == ends[:left] and run.of("eval") == wanted[0].of("eval")
        assert notes == ["none: its last line is torn and is dropped"] * (2 - left)
    for content in (course + text(ends[0])[:-9], course[:-9], (course + text(*ends))[9:-9]):
        path.write_bytes(content)
        (note,) = load([study / "none"])[1]
        assert note.startswith("none is left out: ")


def test_the_report_as_a_program(study, forks, tmp_path):
    (study / "none" / "summary.json").write_text("null")
    (study / "none" / "metrics.jsonl").unlink()
    link_to_itself(study / "wider")
    words = [str(study), "--marl-eval", str(tmp_path / "new" / "scores.json")]
    done = forks.run(["python", "-m", "knife_jax.report.study", *words])
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "warning: none is left out: there is no metrics.jsonl",
        "warning: wider is left out: metrics.jsonl cannot be read "
        "(Too many levels of symbolic links)",
    ]
    record = json.loads((study / "report.json").read_text())
    assert list(record["methods"]) == ["fresh_per_task", "redo"]
    assert "seq_matrix" in json.loads((tmp_path / "new" / "scores.json").read_text())


def test_where_a_report_cannot_go(study, tmp_path, capsys):
    loop, file = tmp_path / "loop", tmp_path / "file"
    loop.symlink_to("loop")
    file.write_text("mine")
    for out, export in ((loop, None), (file, None), (study, tmp_path), (study, file / "scores")):
        assert not write.write([study], out, "the command", lambda _: None, export)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and " cannot be written: " in line
    assert file.read_text() == "mine"


def test_runs_of_one_name_are_told_apart(finished, study):
    runs, notes = load([finished / "none", study / "none", study / "redo"])
    assert [run.name for run in runs] == ["none", "redo"]
    assert notes == [f"{study / 'none'} is left out: another run is called none, too"]


def test_means_over_tasks_leave_equal_counts_whole():
    tasks = [{**row("final"), "task": k, "return": 1.0 + k, "episodes": 8} for k in range(2)]
    (mean,) = over_tasks(tasks)
    assert mean["return"] == 1.5 and repr(mean["episodes"]) == "8"


def test_records_of_an_older_version_have_no_sums(study):
    summary = json.loads((study / "none" / "summary.json").read_text())
    for name in (SUM, "rows_sum", "seeds"):
        del summary[name]
    (study / "none" / "summary.json").write_text(json.dumps(summary))
    replace(study / "none" / "metrics.jsonl", b'"return": 6.0', b'"return": 7.0')
    assert read_run(study / "none").summary == summary


def test_nothing_is_lost_where_nothing_was_computed(tmp_path: Path):
    assert computed(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / "config.yaml").write_text("seed: 1")
    assert computed(tmp_path) == []
    (tmp_path / "curve.png").symlink_to("nowhere")
    assert computed(tmp_path) == ["curve.png"]
