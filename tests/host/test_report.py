"""The report of a study: scores on one scale, what is left out, and the files."""

import json
import sys

import numpy as np
import pytest
from fake_runs import FIRST, FRESH, SECOND, rows, store

from knife_jax.cli import compose, report
from knife_jax.report import continual, grid, marl_eval, write
from knife_jax.report.load import load
from knife_jax.report.measures import compare, measure, surgery
from knife_jax.report.runs import folders

OPTIMUM = [8, 8, 10]


@pytest.fixture
def runs(tmp_path):
    """``none`` with two seeds and ``fresh_per_task``, whose optima are known."""
    store(tmp_path / "none", rows(FIRST, SECOND, optimum=OPTIMUM))
    store(tmp_path / "fresh_per_task", rows(FRESH, FRESH, optimum=OPTIMUM))
    loaded, notes = load([tmp_path / "none", tmp_path / "fresh_per_task"])
    assert notes == []
    return loaded


def no_protocol(study):
    return None


def measured(runs):
    compared = compare(runs)
    none, fresh = compared.courses["none"], compared.courses["fresh_per_task"]
    return measure(runs[0], none, fresh), compared


def test_scores_are_shares_of_the_optimum(runs):
    values, compared = measured(runs)
    assert "1 the task's optimum" in compared.scale and "0 is a return of 0" in compared.scale
    ends = np.array([[4, 6, 8], [8, 3, 2]]) / OPTIMUM
    np.testing.assert_allclose(values["score"].values, ends)
    np.testing.assert_allclose(values["late_score"].values, ends[:, 2:])
    np.testing.assert_allclose(values["area"].values, np.array([[3, 5.5, 6], [6, 2, 2]]) / OPTIMUM)
    # the best after an earlier task, less the end: 4 and 6 of task 0 and 1, then 8 and 3
    lost = np.array([[4 - 1, 6 - 6], [8 - 2, 3 - 2]]) / OPTIMUM[:2]
    np.testing.assert_allclose(values["forgotten"].values, lost.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(values["backward_transfer"].values, -values["forgotten"].values)
    assert not {"return_score", "return_gain"} & {*values}
    np.testing.assert_array_equal(values["recovery_steps"].values, [[20, 20], [20, 10]])
    # 0.2, 0.375, 0.5, 0.75, 0.8, 1: one of six is cut off at each end
    assert values["score"].estimate().value == pytest.approx((0.375 + 0.5 + 0.75 + 0.8) / 4)


def test_the_gap_to_fresh_networks_is_paired_by_seed(runs):
    values, _ = measured(runs)
    gap = (np.array([[4, 8, 10]] * 2) - [[4, 6, 8], [8, 3, 2]]) / OPTIMUM
    np.testing.assert_allclose(values["gap"].values - values["gap"].less, gap)
    np.testing.assert_allclose(values["late_gap"].less, [[0.8], [0.2]])
    assert values["late_gap"].estimate().value == pytest.approx(1 - 0.5)
    forward = values["forward_transfer"]
    fresh_areas = (np.array([6, 8]) / OPTIMUM[1:]).mean()
    areas = (np.array([[5.5, 6], [2, 2]]) / OPTIMUM[1:]).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(forward.values, areas)
    np.testing.assert_allclose(forward.less, [[fresh_areas]] * 2)
    slopes = continual.slope(gap)
    np.testing.assert_allclose(values["gap_slope"].values[:, 0], slopes)
    other = runs[1]._replace(records=[r for r in runs[1].records if r["seed"] == 4], seeds=[4])
    paired, _ = measured([runs[0], other])
    np.testing.assert_allclose(paired["late_gap"].less, [[0.2]])


def test_neurons_and_surgery_at_the_end(runs):
    values, _ = measured(runs)
    np.testing.assert_array_equal(values["final_dormant_pct"].values, [[5], [15]])
    np.testing.assert_array_equal(values["final_stagnant_pct"].values, [[5], [5]])
    assert surgery(runs[0]) == {"churn_max": 0.5, "units_operated": 5}
    assert surgery(runs[0]._replace(records=[])) == {}
    unmeasured = [{**row, "churn_max": None} for row in runs[0].of("surgery")]
    assert surgery(runs[0]._replace(records=unmeasured))["churn_max"] is None


def test_without_optima_the_best_of_any_run_is_1_and_the_worst_below_0_is_0(tmp_path):
    low = [[-2.0] * 6, [0] * 6, [0] * 6]
    paths = [store(tmp_path / "a", rows(FIRST)), store(tmp_path / "b", rows(low))]
    compared = compare(load(paths)[0])
    assert "1 the best of any run" in compared.scale and "lowest return of any" in compared.scale
    ends = continual.at_task_end(compared.courses["a"])
    np.testing.assert_allclose(ends, [[(4 + 2) / (4 + 2), 6 / 6, 8 / 8]])
    np.testing.assert_allclose(continual.at_task_end(compared.courses["b"]), [[0, 0, 0]])


def test_tasks_that_nobody_masters_and_win_rates(tmp_path):
    path = store(tmp_path / "a", rows([[0] * 6, [0] * 6, FIRST[2]]))
    assert continual.at_task_end(compare(load([path])[0]).courses["a"]).tolist() == [[0, 0, 1]]
    rates = np.array(FIRST) / 16
    path = store(tmp_path / "b", [r | {"return": 3.0} for r in rows(rates, name="win_rate")])
    compared = compare(load([path])[0])
    assert (compared.metric, compared.scale) == ("win_rate", "win rates")
    np.testing.assert_allclose(compared.courses["b"].values, [rates])


def test_visits_of_a_sequence_that_repeats_are_tasks():
    content = rows(FIRST)
    again = [{**row, "env_steps": row["env_steps"] + 60} for row in rows(SECOND)]
    again = [row | ({"task": row["task"] + 3} if row["kind"] == "train" else {}) for row in again]
    p = continual.by_visit(continual.scores(content + again))
    np.testing.assert_array_equal(continual.at_task_end(p), [[4, 6, 8, 8, 3, 2]])
    np.testing.assert_array_equal(p.task, [0, 1, 2, 0, 1, 2])


def test_runs_that_cannot_be_compared_are_named_and_left_out(tmp_path, capsys):
    store(tmp_path / "none", rows(FIRST, SECOND))
    store(tmp_path / "redo", rows(FIRST, SECOND, until=4))
    smaller = compose(["experiment=matrix_sequence", "algo.hidden=13"])
    store(tmp_path / "wider", rows(FIRST), smaller)
    lost = [row for row in rows(FIRST, SECOND) if row["seed"] == 3 or row["env_steps"] < 40]
    store(tmp_path / "knife", lost)
    (tmp_path / "cbp").mkdir()
    (tmp_path / "snr").mkdir()
    (tmp_path / "snr" / "metrics.jsonl").write_text('{"kind": "tr')
    names = ("none", "redo", "wider", "knife", "cbp", "snr")
    assert write.write([tmp_path / name for name in names], tmp_path, "the command", no_protocol)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "warning: cbp is left out: there is no metrics.jsonl"
    assert told[1] == "warning: snr is left out: there is no config.yaml"
    assert told[2:] == [
        "warning: redo is left out: evaluated up to 40 of 60 env steps",
        "warning: wider is left out: algo.hidden=13 (none 32)",
        "warning: knife: seed 4 diverged and is left out",
    ]
    record = json.loads((tmp_path / "report.json").read_text())
    assert {name: run["seeds"] for name, run in record["methods"].items()} == {
        "none": [3, 4], "knife": [3],
    }  # fmt: skip
    assert record["notes"][-1] == "no plasticity gap: fresh_per_task is not among the runs"
    assert record["notes"][:-1] == [line.removeprefix("warning: ") for line in told]
    text = (tmp_path / "report.md").read_text()
    assert text.count("\n- ") == 6 + text.count("- **")


def test_the_files_of_a_report(tmp_path, runs, monkeypatch, capsys):
    words = [str(tmp_path), "--marl-eval", str(tmp_path / "scores.json")]
    monkeypatch.setattr(sys, "argv", ["study", *words])
    with pytest.raises(SystemExit) as ended:
        report.main()
    assert ended.value.code == 0
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["command"] == f"python -m knife_jax.report.study {' '.join(words)}"
    assert record["env_steps"] == 60 and record["env"]["name"] == "seq_matrix"
    none = record["methods"]["none"]
    assert none["late_gap"]["iqm"] == pytest.approx(0.5)
    low, high = none["late_gap"]["interval"]
    assert (low, high) == pytest.approx((0.2, 0.8))
    assert "late_gap" not in record["methods"]["fresh_per_task"]
    text = (tmp_path / "report.md").read_text()
    printed = capsys.readouterr().out
    assert text in printed
    assert printed.endswith(f"\nscores for marl-eval: {tmp_path / 'scores.json'}\n")
    head, _, fresh, row, *_ = [line for line in text.splitlines() if line.startswith("|")]
    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert cells["| method"] == "| `none`" and cells["gap, last quarter"] == "0.5 (0.2 to 0.8)"
    assert cells["largest churn"] == "0.5" and cells["units operated |"] == "5 |"
    assert cells["same, a further drawing"] == "-6.1 to 7.1"
    cells = dict(zip(head.split(" | "), fresh.split(" | "), strict=True))
    assert cells["gap, last quarter"] == "-"
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    exported = json.loads((tmp_path / "scores.json").read_text())
    assert list(exported["seq_matrix"]["task_0"]) == ["fresh_per_task", "none"]


def test_nothing_to_report_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["study", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        report.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    reason = f"{tmp_path.name} is left out: there is no metrics.jsonl"
    assert line == f"error: no report: {reason}"
    assert list(tmp_path.iterdir()) == []


def test_without_any_run_each_is_named_and_an_earlier_report_is_called_so(tmp_path, capsys):
    for name in ("none", "redo"):
        (tmp_path / name).mkdir()
    (tmp_path / "report.md").write_text("of yesterday")
    assert not write.write(
        [tmp_path / "none", tmp_path / "redo"], tmp_path, "the command", no_protocol
    )
    assert capsys.readouterr().err.splitlines() == [
        "warning: none is left out: there is no metrics.jsonl",
        "warning: redo is left out: there is no metrics.jsonl",
        "error: no report: there is no run that came to its end; "
        f"{tmp_path / 'report.md'} is that of an earlier report",
    ]
    assert (tmp_path / "report.md").read_text() == "of yesterday"


def test_folders_of_runs_are_opened(tmp_path):
    for name in ("b", "a"):
        store(tmp_path / name, [])
    assert folders([tmp_path]) == [tmp_path / "a", tmp_path / "b"]
    assert folders([tmp_path / "b", tmp_path / "none"]) == [tmp_path / "b", tmp_path / "none"]


def test_the_layout_of_marl_eval_by_hand(runs):
    scores = marl_eval.layout(runs)
    assert list(scores) == ["seq_matrix"]
    assert list(scores["seq_matrix"]) == ["task_0", "task_1", "task_2"]
    for methods in scores["seq_matrix"].values():
        assert {name: list(seeds) for name, seeds in methods.items()} == {
            "none": ["seed_3", "seed_4"], "fresh_per_task": ["seed_3", "seed_4"],
        }  # fmt: skip
    run = scores["seq_matrix"]["task_1"]["none"]["seed_4"]
    # marl-eval takes the last entry for the absolute metrics
    assert list(run) == [*(f"step_{i}" for i in range(6)), "absolute_metrics"]
    assert run["step_0"] == {"step_count": 10, "elapsed_time": 0, "return": [1.0]}
    assert run["step_3"] == {"step_count": 40, "elapsed_time": 0.75, "return": [3.0]}
    assert run["absolute_metrics"] == {"return": [2.5]}


def test_marl_eval_gets_equal_numbers_of_seeds_and_the_best_policy_played_again(runs):
    lost = runs[1]._replace(records=[r for r in runs[1].records if r["seed"] == 3], seeds=[3])
    scores = marl_eval.layout([runs[0], lost])
    assert {tuple(m) for t in scores["seq_matrix"].values() for m in t.values()} == {("seed_3",)}
    won = [
        row | {"win_rate": -row["return"]}
        for kind in ("eval", "absolute")
        for row in runs[0].of(kind)
    ]
    scores = marl_eval.layout([runs[0]._replace(records=won)])
    run = scores["seq_matrix"]["task_2"]["none"]["seed_3"]
    assert run["absolute_metrics"] == {"win_rate": [-7.5], "return": [7.5]}


def test_without_an_absolute_metric_there_is_no_export_but_a_report(tmp_path, capsys):
    content = [row for row in rows(FIRST) if row["kind"] != "absolute"]
    path, out = store(tmp_path / "none", content), tmp_path / "scores.json"
    assert not write.write([path], tmp_path, "the command", no_protocol, out)
    told = capsys.readouterr().err.splitlines()
    assert told == [f"error: {out} is not written: none has no absolute metric of seed 3, task 0"]
    assert not out.exists() and (tmp_path / "report.md").exists()


@pytest.mark.parametrize(
    ("drawing", "optimum", "best", "said"),
    [
        ("per_seed", None, [[4, 6, 8], [8, 3, 4]], "task and seed: 0 is a return of 0, 1 the best "
         "of any run"),
        ("shared", None, [8, 6, 8], "task: 0 is a return of 0, 1 the best of any run and seed"),
        ("per_seed", OPTIMUM, OPTIMUM, "task and seed: 0 is a return of 0, 1 the task's optimum"),
    ],
)  # fmt: skip
def test_seeds_with_tasks_of_their_own_are_on_scales_of_their_own(
    tmp_path, drawing, optimum, best, said
):
    config = compose(["experiment=matrix_sequence", f"env.drawing={drawing}"])
    halves = np.array(SECOND) / 2, np.array(FIRST) / 2
    store(tmp_path / "a", rows(FIRST, SECOND, optimum=optimum), config)
    store(tmp_path / "b", rows(*halves, optimum=optimum), config)
    compared = compare(load([tmp_path / "a", tmp_path / "b"])[0])
    ends = continual.at_task_end(compared.courses["a"])
    np.testing.assert_allclose(ends, np.array([[4, 6, 8], [8, 3, 2]]) / best)
    assert compared.scale == f"returns by {said}"


def test_optima_of_tasks_that_seeds_have_drawn_are_their_own(tmp_path):
    content = [
        row | ({"regret": 10 + row["seed"] - row["return"]} if row["kind"] == "eval" else {})
        for row in rows(FIRST, SECOND)
    ]
    compared = compare(load([store(tmp_path / "a", content)])[0])
    np.testing.assert_allclose(
        continual.at_task_end(compared.courses["a"]),
        [[4 / 13, 6 / 13, 8 / 13], [8 / 14, 3 / 14, 2 / 14]],
    )


def test_which_neurons_and_which_rewrite_are_one_figure(tmp_path):
    """Score of the last task over its optimum, 10; both seeds of a method are equal."""
    last = {"knife": 8.0, "knife_random": 2.0, "knife_recycle": 5.0, "knife_recycle_random": 9.0}
    for name, end in last.items():
        words = ["experiment=matrix_sequence", f"algo=qmix_{name}"]
        course = [*FIRST[:2], [*FIRST[2][:5], end]]
        store(tmp_path / name, rows(course, course, optimum=OPTIMUM), compose(words))
    store(tmp_path / "none", rows(FIRST, FIRST, optimum=OPTIMUM))
    store(tmp_path / "knife_fresh", rows(FIRST, FIRST, optimum=OPTIMUM),
          compose(["experiment=matrix_sequence", "algo=qmix_knife_fresh"]))  # fmt: skip
    assert write.write([tmp_path], tmp_path / "out", "", no_protocol)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    of_each = {place: numbers["iqm"] for place, numbers in grid.cells(report).items()}
    assert of_each == pytest.approx({
        ("stagnant", "graft"): 0.8, ("random", "graft"): 0.2, ("stagnant", "recycle"): 0.5,
        ("random", "recycle"): 0.9,
    })  # fmt: skip
    picture = tmp_path / "out" / "selections.png"
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert write.write([tmp_path / "none", tmp_path / "knife"], tmp_path / "out", "", no_protocol)
    assert not picture.exists()
