"""The interactive page about runs: its numbers, what it leaves out, and how it behaves."""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from browser import chromium, new_page, silent  # noqa: F401  (a fixture)
from fake_runs import FIRST, FRESH, SECOND, rows, store
from fake_study import content, study, summarise

from knife_jax.cli import compose, page, repeat
from knife_jax.config.plain import to_dict
from knife_jax.records.lines import read_records, to_lines
from knife_jax.report import aggregate, stats, write
from knife_jax.report.interactive import tables
from knife_jax.report.interactive.marks import COLOURS, PLAIN_COLOUR, styles, thinned
from knife_jax.report.load import load
from knife_jax.report.pool import pooled
from knife_jax.report.runs import Run, folders

pytestmark = pytest.mark.xdist_group("report_page")  # they share programs and pages


def no_protocol(study):
    return None


def report(monkeypatch, *words):
    """Runs the command and returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["report", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        page.main()
    return ended.value.code


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a study of two methods, one of which left a recording, with an interrupted
    run and a broken one, its page, and what the command said."""
    folder = study(tmp_path_factory.mktemp("page") / "study", {"none": 0.5, "knife": 0.8})
    config = compose(["env=smax", "algo=qmix_redo", "num_seeds=2", "env_steps=100_000"])
    records = content(0.7, seeds=2, moments=100, until=0.4)
    summarise(store(folder / "redo", records, config), config, records, "interrupted")
    (folder / "broken").mkdir()
    (folder / "broken" / "metrics.jsonl").write_text('{"kind')
    player = (
        "<!DOCTYPE html><p id=p></p><script>document.getElementById('p').textContent=6*7</script>"
    )
    (folder / "knife" / "recording.html").write_text(player)
    with pytest.MonkeyPatch.context() as patch:
        assert report(patch, folder) == 0
    return folder


@pytest.fixture(scope="module")
def text(made):
    return (made / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def panels(text):
    found = re.search(r'id="plots">(.*?)</script>', text)
    return json.loads(found[1])


def cells(text, section):
    """The cells of the first table of a section, by row."""
    part = text.partition(f'<section id="{section}">')[2]
    body = part.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in body.split("</tr>")[:-1]]


def plain(html):
    return re.sub("<.*?>", "", html)


def test_final_scores_are_those_of_report_study(made, text, panels, tmp_path, capsys):
    assert write.write([made], tmp_path, "the command", no_protocol)
    told = json.loads((tmp_path / "report.json").read_text())["methods"]
    assert {*told} == {"none", "knife"}
    markdown = (tmp_path / "report.md").read_text().split("\n\n")[1].splitlines()
    head, _, *lines = [line.strip("| ").split(" | ") for line in markdown if line[:1] == "|"]
    kept = [i for i in range(len(head)) if {line[i] for line in lines} != {"-"}]
    study = [[line[i].strip("`") for i in kept] for line in lines]
    assert [[plain(c) for c in row] for row in cells(text, "scores")] == study
    differences, first, *_ = [panel for panel in panels if "height" in panel["layout"]]
    (pair,) = json.loads((tmp_path / "report.json").read_text())["differences"]
    further, whole, tick = [trace["x"] for trace in differences["data"]]
    assert {y for trace in differences["data"] for y in trace["y"]} == {"knife − none"}
    assert tick == [pair["difference"]["iqm"]] and further == pair["difference"]["further"]
    assert whole == pair["difference"]["interval"]
    ticks = {t["name"]: t["x"] for t in first["data"] if t["mode"] == "markers"}
    bars = {t["name"]: t["x"] for t in first["data"] if t["mode"] == "lines"}
    for name, numbers in told.items():
        assert ticks[name] == [pytest.approx(numbers["score"]["iqm"], rel=1e-5)]
        assert bars[name] == pytest.approx(numbers["score"]["interval"], rel=1e-5)


def test_results_and_curves_are_those_of_the_records(made, text, panels):
    rows = {plain(row[0]): [plain(c) for c in row[1:]] for row in cells(text, "results")}
    assert {name: row[:3] for name, row in rows.items()} == {
        "none": ["complete", "3", "100,000"], "knife": ["complete", "3", "100,000"],
        "redo": ["interrupted", "2", "40,000"],
    }  # fmt: skip
    lines = made / "none" / "metrics.jsonl"
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    final = [r["win_rate"] for r in records if r["kind"] == "final"]
    assert rows["none"][3].startswith(f"{np.mean(final):.3g} (")
    drawn = {t["meta"]["role"]: t for t in panels[0]["data"] if t["meta"]["method"] == "none"}
    last = [r["win_rate"] for r in records if r["kind"] == "eval" and r["env_steps"] == 100_000]
    assert drawn["line"]["y"][-1] == pytest.approx(np.mean(last), rel=1e-5)
    assert drawn["seed"]["y"][-1] == pytest.approx(last[2], rel=1e-5)
    low, high = np.quantile(stats.iqm(np.array(last)[stats.drawn(3)]), stats.levels(3))
    band = drawn["band"]
    assert sorted(y for x, y in zip(band["x"], band["y"], strict=True) if x == 100_000) == (
        pytest.approx([low, high], rel=1e-5)
    )
    assert band["fillcolor"] == PLAIN_COLOUR and "surgery" not in drawn
    knife = next(
        t for t in panels[0]["data"] if t["meta"] == {"method": "knife", "role": "surgery"}
    )
    assert (knife["x"], knife["customdata"]) == ([33_000, 66_000, 99_000], [11, 11, 11])


def test_what_is_left_out_is_named_and_what_differs_is_marked(text):
    assert "broken is left out: there is no config.yaml" in text
    assert (
        "redo is left out: evaluated up to 40,000 of 100,000 env steps, status interrupted" in text
    )
    assert "Not at its end: redo (interrupted)." in text
    differing = {row[0]: [plain(c) for c in row[1:]] for row in cells(text, "configuration")}
    assert differing["plasticity.name"] == ["knife", "none", "redo"]
    assert differing["num_seeds"] == ["3", "3", "2"] and "env.name" not in differing
    assert "<td><mark>2</mark></td>" in text
    words = "python -m knife_jax.train env=smax algo=qmix_knife num_seeds=3 env_steps=100000"
    assert f"<pre>{words}</pre>" in text and "c4e808f780d7493a37adabf5deb6c6b1c75303c1" in text


@pytest.mark.parametrize(
    "words",
    [
        ["env=smax", "algo=vdn", "preset=pqn", "env.scenario=2s3z"],
        ["experiment=matrix_sequence", "algo=qmix_redo", "num_seeds=2"],
        [
            "env=matrix_game",
            "algo=qmix",
            "plasticity=knife",
            "logger.project=a b",
            "algo.lr=1e-5",
        ],
    ],
)
def test_the_words_of_a_run_come_to_its_configuration(words):
    wanted = to_dict(compose(words))
    program, *again = shlex.split(repeat.command_of(wanted))[2:]
    assert program == "knife_jax.train" and to_dict(compose(again)) == wanted
    assert repeat.command_of({**wanted, "of_old": 3}) is None


def test_aggregates_are_those_of_rliable_with_whole_seeds_drawn(monkeypatch):
    from rliable import library, metrics

    monkeypatch.setattr(stats, "DRAWS", 300)
    scores = np.random.default_rng(3).random((7, 4)) * 1.1
    ours = aggregate.aggregates(scores)
    theirs = {
        "IQM": metrics.aggregate_iqm, "median": metrics.aggregate_median,
        "mean": metrics.aggregate_mean, "optimality gap": metrics.aggregate_optimality_gap,
    }  # fmt: skip
    levels = np.linspace(0, 1, 11)

    def of_all(a):
        above = [library.run_score_deviation(a, level) for level in levels]
        return np.array([*(of(a) for of in theirs.values()), *above])

    profile = aggregate.profile(scores, levels)
    draws = [of_all(scores[seeds]) for seeds in stats.drawn(7)]
    ends = np.quantile(draws, stats.levels(7), axis=0)
    for i, wanted in enumerate([of_all(scores), *ends]):
        np.testing.assert_allclose([e[i] for e in ours.values()], wanted[:4])
        np.testing.assert_allclose(profile[i], wanted[4:])


def test_bands_of_curves_are_the_bootstrap_of_whole_seeds():
    values = np.random.default_rng(5).random((5, 9))
    found = stats.over_seeds(values)
    draws = stats.iqm(np.moveaxis(values[stats.drawn(len(values))], 1, -1))
    np.testing.assert_allclose(found.value, stats.iqm(values.T))
    np.testing.assert_allclose(
        [found.low, found.high], np.quantile(draws, stats.levels(len(values)), axis=0)
    )
    values[0, 4:], values[:, 8] = np.nan, np.nan  # a seed that was lost, and a moment without any
    found = stats.over_seeds(values)
    np.testing.assert_allclose(found.value[4:8], stats.iqm(values[1:, 4:8].T))
    assert np.isnan([found.value[8], found.low[8], found.high[8]]).all()


def test_looks_and_moments_that_are_shown():
    many = styles([f"m{i}" for i in range(10)])
    assert len({*many.values()}) == 10 and many["m8"].colour == COLOURS[0]
    assert styles(["none"])["none"].colour == COLOURS[0]  # alone it is not in grey
    np.testing.assert_array_equal(thinned(5, 3), [0, 2, 4])
    np.testing.assert_array_equal(thinned(3, 250), [0, 1, 2])


def test_a_sequence_of_tasks_shows_its_switches_and_the_end_of_each(tmp_path, monkeypatch):
    optimum = [8, 8, 10]
    store(tmp_path / "none", rows(FIRST, SECOND, optimum=optimum))
    store(tmp_path / "fresh_per_task", rows(FRESH, FRESH, optimum=optimum))
    assert report(monkeypatch, tmp_path, "--out", tmp_path / "new" / "a.pdf") == 2
    assert report(monkeypatch, tmp_path, "--out", tmp_path / "new" / "a.html") == 0
    text = (tmp_path / "new" / "a.html").read_text()
    panels = json.loads(re.search(r'id="plots">(.*?)</script>', text)[1])
    assert [shape["x0"] for shape in panels[0]["layout"]["shapes"]] == [20, 40]
    tasks = next(p for p in panels if "task" in str(p["layout"].get("xaxis", {}).get("title")))
    line = next(t for t in tasks["data"] if t["meta"] == {"method": "none", "role": "line"})
    assert line["x"] == [1, 2, 3] and line["y"] == pytest.approx([0.75, 0.5625, 0.5])
    assert "gap, last quarter" in text and "0.5 (0.2 to 0.8)" in text


def test_runs_of_other_versions_and_without_a_summary_are_shown(tmp_path, monkeypatch):
    run = store(tmp_path / "old", rows(FIRST))
    config = (run / "config.yaml").read_text().replace("probes:", "instruments:")
    (run / "config.yaml").write_text(config)
    assert report(monkeypatch, run) == 0
    text = (run / "report.html").read_text()
    assert "old (knife_jax unknown): unknown key &#x27;instruments." in text
    assert "No words of this version make its configuration" in text
    assert [plain(c) for c in cells(text, "results")[0][:3]] == ["old", "unknown", "1"]


def test_runs_that_differ_in_seeds_alone_are_one_method(tmp_path, monkeypatch, made):
    levels = {"none": 0.5, "knife": 0.8}
    for name in levels:
        config = yaml.safe_load((made / name / "config.yaml").read_text())
        records = read_records(made / name / "metrics.jsonl")
        for seed in range(3):
            run = tmp_path / "single" / f"{name}{seed}"
            run.mkdir(parents=True)
            alone = {**config, "seed": seed, "num_seeds": 1}
            (run / "config.yaml").write_text(yaml.safe_dump(alone))
            (run / "metrics.jsonl").write_bytes(to_lines([r for r in records if r["seed"] == seed]))
    assert write.write([tmp_path / "single"], tmp_path / "apart", "the command", no_protocol)
    assert write.write([made], tmp_path / "one", "the command", no_protocol)
    apart, one = (json.loads((tmp_path / n / "report.json").read_text()) for n in ("apart", "one"))
    for run in (*apart["methods"].values(), *one["methods"].values()):
        del run["wall_seconds"]
    assert apart["methods"]["qmix"] == one["methods"]["none"]
    assert apart["methods"]["qmix_knife"] == one["methods"]["knife"]
    found = {run.name: run.folder_names for run in load(folders([tmp_path / "single"]))[0]}
    assert found["qmix"] == ["none0", "none1", "none2"]
    assert report(monkeypatch, tmp_path / "single") == 0
    text = (tmp_path / "single" / "report.html").read_text()
    assert "2 methods, 3 seeds each in 6 runs, 100,000" in text
    assert re.findall('data-method="(.*?)"', text) == ["qmix_knife", "qmix"]
    assert "seed=2" in text and len(cells(text, "results")) == 6


def test_nothing_to_show_is_one_line(tmp_path, monkeypatch, capsys):
    assert report(monkeypatch, tmp_path / "none") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: no report: none is left out: there is no metrics.jsonl"
    assert not (tmp_path / "none").exists()
    assert report(monkeypatch, store(tmp_path / "new", [])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: no report: new is left out: it has no records yet"
    run = store(tmp_path / "run", rows(FIRST))
    (tmp_path / "file").write_text("")
    assert report(monkeypatch, run, "--out", tmp_path / "file" / "a.html") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'file'}") and "cannot be written" in line


SHOWN = """() => [...document.querySelectorAll('.plot')].filter(p => p.data).flatMap(
  p => p.data.filter(t => t.visible !== false).map(t => t.meta.method + ' ' + t.meta.role))"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(made, browser, width):
    with silent(browser, made / "report.html", width, 900) as opened:
        opened.wait_for_selector(".plot .main-svg")
        assert opened.evaluate("document.documentElement.scrollWidth") == width
        before = opened.evaluate(SHOWN)
        assert {"knife line", "knife band", "knife seed", "none line", "knife surgery"} <= {*before}
        curves = opened.locator("#learning .plot").first.locator(".scatterlayer .trace")
        drawn = curves.count()
        opened.click(".method[data-method=knife]")
        assert {t.partition(" ")[0] for t in opened.evaluate(SHOWN)} == {"none", "redo"}
        assert curves.count() < drawn
        opened.click(".method[data-method=knife]")
        assert opened.evaluate(SHOWN) == before and curves.count() == drawn
        opened.uncheck("[data-role=seed]")
        assert opened.evaluate(SHOWN) == [t for t in before if not t.endswith(" seed")]
        opened.uncheck("[data-role=band]")
        left = [t for t in before if not t.endswith((" seed", " band"))]
        assert opened.evaluate(SHOWN) == left
        opened.select_option("#neurons select", label="Effective rank")
        titles = opened.locator("#neurons figure").nth(1).locator("h4:visible").all_inner_texts()
        assert titles == ["agent/encoder", "agent/memory", "mixer/w1_hidden"]
        opened.locator("iframe").scroll_into_view_if_needed()
        assert opened.frame_locator("iframe").locator("#p").inner_text() == "42"
        opened.evaluate("scrollTo(0, document.body.scrollHeight)")
        assert opened.evaluate("document.documentElement.scrollWidth") == width


def test_nothing_lies_over_curves_where_there_is_no_pointer(made, browser):
    for touched in (False, True):
        opened = new_page(browser, has_touch=touched, is_mobile=touched)
        opened.goto((made / "report.html").as_uri())
        opened.locator(".main-svg").first.wait_for(state="attached")
        assert bool(opened.locator(".modebar-btn").count()) == (not touched)
        opened.close()


def test_the_page_on_paper(made, browser):
    opened = new_page(browser)
    opened.goto((made / "report.html").as_uri())
    pdf = opened.pdf(prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF") and 4 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 14
    assert opened.evaluate("[...document.querySelectorAll('.plot')].every(p => p.data)")
    opened.close()


def alone(name, seed, method="none", versions=None, **config):
    """A run of one seed."""
    fields = {"seed": seed, "num_seeds": 1, "algo": {"name": "qmix"}, **config}
    summary = {"status": "complete", "versions": versions or {}}
    record = {"kind": "train", "env_steps": 10, "seed": seed}
    fields["plasticity"] = {"name": method}
    return Run(name, [record], [seed], fields, summary, (Path(name),))


def test_methods_of_one_algorithm_are_called_after_their_plasticity():
    runs = [alone(f"{m}{s}", s, m) for m in ("knife", "redo") for s in (0, 1)]
    assert {name: len(group) for name, group in pooled(runs).items()} == {"knife": 2, "redo": 2}
    assert [*pooled(runs[:2])] == ["qmix"]


def test_runs_of_different_code_stay_apart():
    for versions in ({"knife_jax": "0.2"}, {"env_code": {"sha256": "5"}}):
        runs = [alone("a", 0), alone("b", 1, versions=versions)]
        assert [*pooled(runs)] == ["a", "b"]


def test_names_in_configurations_are_text():
    run = alone("a", 0, versions={"<i>v": "1"}, env={"args": {"<b>x": "<u>"}})
    for html in (tables.configurations([run], styles(["a"])), origin(run)):
        assert not re.search("<[ibu]>", html) and "&lt;" in html


def origin(run):
    return tables.origins([run], styles([run.name]), lambda config: None)
