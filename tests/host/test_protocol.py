"""Protocols of studies: what they must say, how differences are read, and what came later."""

import copy
import json

import pytest
import yaml
from fake_runs import FIRST, FRESH, SECOND, rows, store

from knife_jax.cli import compose, options
from knife_jax.cli.reports import protocol_of
from knife_jax.cli.study import jobs
from knife_jax.config.protocol import protocol
from knife_jax.config.schema import ConfigError
from knife_jax.records.compare import as_begun, config_hash, making_fields
from knife_jax.report import write
from knife_jax.report.load import load
from knife_jax.report.protocol import verdict
from knife_jax.report.runs import folders

READINGS = ("above", "below", "inside", "undecided")
ASKED = {
    "asks": "Is fresh above none?", "method": "fresh_per_task", "against": "none",
    **{outcome: f"It is {outcome}." for outcome in READINGS},
}  # fmt: skip
MINE = {
    "primary": "score", "drawings": 2, "smallest_effect": 0.05, "exclusion": "Nobody is left out.",
    "questions": {"lost": ASKED},
}  # fmt: skip


def changed(name, value=None):
    """The protocol with another value of a dotted field, or without it."""
    out = copy.deepcopy(MINE)
    *path, leaf = name.split(".")
    inner = out
    for part in path:
        inner = inner[part]
    if value is None:
        del inner[leaf]
    else:
        inner[leaf] = value
    return out


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("primary", "late", "experiment.protocol.primary=late is refused (did you mean "
         "'late_score'?): must be one of late_score, score, area"),
        ("drawings", 0, "experiment.protocol.drawings=0 is refused: must be a whole number, at "
         "least 1, at most 2147483647"),
        ("smallest_effect", -0.1, "experiment.protocol.smallest_effect=-0.1 is refused: must be a "
         "number, above 0"),
        ("smallest_effect", None, "experiment.protocol.smallest_effect is not set: the protocol "
         "must say it"),
        ("exclusion", " ", "experiment.protocol.exclusion=' ' is refused: must be text, not empty"),
        ("zzz", 1, "unknown key 'experiment.protocol.zzz'; experiment.protocol has primary, "
         "drawings, smallest_effect, exclusion, questions"),
        ("questions", 3, "experiment.protocol.questions=3 is refused: must be a mapping, with a "
         "name for each value, and values of JSON (nan and inf are none)"),
        ("questions.lost", "why", "experiment.protocol.questions.lost is refused: must have asks, "
         "method, against, above, below, inside, undecided"),
        ("questions.lost.undecided", None, "experiment.protocol.questions.lost.undecided is not "
         "set: the protocol must say it"),
        ("questions.lost.agianst", "none", "unknown key 'experiment.protocol.questions.lost."
         "agianst'; did you mean 'against'?"),
    ],
)  # fmt: skip
def test_a_protocol_that_is_not_whole_is_refused_in_one_line(name, value, said):
    with pytest.raises(ConfigError) as refused:
        protocol(changed(name, value))
    assert str(refused.value) == said


def test_a_protocol_decides_no_result_and_is_no_part_of_what_is_made(tmp_path):
    plain, other = (
        compose(["experiment=matrix_sequence"]),
        compose(["experiment=matrix_sequence", "experiment.protocol.smallest_effect=0.2"]),
    )
    assert other.experiment.protocol["smallest_effect"] == 0.2
    assert config_hash(plain) == config_hash(other)
    fields = [making_fields({"a": 1, "experiment": {"protocol": p}}) for p in (MINE, None)]
    assert fields == [{"a": 1}, {"a": 1}]
    with pytest.raises(ConfigError, match=r"experiment.protocol.drawings=no is refused"):
        compose(["experiment=matrix_sequence", "experiment.protocol.drawings=no"])


def test_a_run_that_goes_on_keeps_the_protocol_that_it_began_with():
    config = compose(["experiment=matrix_sequence"])
    begun = {"experiment": {"name": "matrix_sequence", "protocol": MINE}}
    assert as_begun(config, begun).experiment.protocol == MINE
    assert as_begun(config, {"experiment": {}}).experiment.protocol is None
    assert as_begun(config, begun).experiment.methods == config.experiment.methods


@pytest.mark.parametrize("study", [file.stem for file in options("experiment")])
def test_studies_ask_of_methods_that_they_have_with_the_seeds_that_they_plan(study):
    config = compose([f"experiment={study}"])
    asked = protocol(config.experiment.protocol)
    assert asked.drawings == config.num_seeds >= 10
    assert asked.primary == ("score" if study == "smax_sequence" else "late_score")
    methods = {*config.experiment.methods.split(",")}
    pairs = [(q.method, q.against) for q in asked.asked().values()]
    assert {method for pair in pairs for method in pair} <= methods
    common = {("fresh_per_task", "none"), ("knife", "none"), ("knife", "knife_random")}
    alone = {("restart_optimiser", "none"), ("knife", "layer_norm")}
    assert {*pairs} >= (common if study == "matrix_shared" else common | alone)
    assert protocol_of(study) == config.experiment.protocol
    assert protocol_of("none") is None


def test_a_question_about_a_method_that_does_not_exist_is_refused(tmp_path):
    word = "experiment.protocol.questions.knife_helps.against=nonee"
    with pytest.raises(ConfigError) as refused:
        jobs("matrix_sequence", None, tmp_path, [word])
    assert str(refused.value).startswith(f"{word} is refused (did you mean 'none'?): must be one ")


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        ((0.01, 0.2), "above"),
        ((0.01, 0.049), "inside"),
        ((-0.049, 0.049), "inside"),
        ((-0.05, 0.04), "undecided"),
        ((0.0, 0.2), "undecided"),
        ((-0.2, -0.01), "below"),
        ((-0.16, 0.06), "undecided"),
        (None, "undecided"),
    ],
)
def test_every_outcome_can_come_out(interval, outcome):
    assert verdict(interval, 0.05) == outcome


@pytest.fixture
def study(tmp_path):
    """``none`` and ``fresh_per_task`` on two seeds, begun with the protocol."""
    for name, scores in {"none": (FIRST, SECOND), "fresh_per_task": (FRESH, FRESH)}.items():
        run = store(tmp_path / name, rows(*scores, optimum=[8, 8, 10]))
        begin_with(run, MINE)
    return tmp_path


def begin_with(run, protocol):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["experiment"]["protocol"] = protocol
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def reported(study, now=None):
    assert write.write([study], study, "the command", lambda name: now)
    text = (study / "report.md").read_text()
    return text, json.loads((study / "report.json").read_text())


def test_questions_are_answered_from_paired_differences(study):
    """Scores at task ends are 0.5, 0.75, 0.8 and 1, 0.375, 0.2; fresh ones 0.5, 1, 1."""
    text, record = reported(study)
    (pair,) = record["differences"]
    fresh, none = (0.5 + 1 + 1 + 1) / 4, (0.375 + 0.5 + 0.75 + 0.8) / 4
    assert pair["difference"]["iqm"] == pytest.approx(fresh - none)
    # the lowest and the highest of two seeds: those that draw one of them alone
    alone = [
        (0.5 + 1 + 1 + 1) / 4 - (0.5 + 0.75 + 0.75 + 0.8) / 4,
        0.875 - (0.2 + 0.375 * 2 + 1) / 4,
    ]
    assert pair["difference"]["interval"] == pytest.approx(alone)
    assert pair["probability"]["iqm"] == pytest.approx((0.5 + 1 + 1 + 0 + 1 + 1) / 6)
    (answer,) = record["answers"]
    assert (answer["outcome"], answer["reading"], answer["added"]) == (
        "above",
        "It is above.",
        None,
    )
    assert f"- **Is fresh above none?** yes: {fresh - none:.3g} (0.175 to 0.388). It is above." in (
        text
    )
    assert "Protocol: 2 drawings of the tasks; the primary measure is score at task end; " in text
    assert "differences below 0.05 do not matter. Nobody is left out." in text


def test_what_was_not_there_when_runs_began_is_marked(study):
    later = copy.deepcopy(MINE)
    later["questions"]["more"] = {**ASKED, "asks": "Is none above fresh?", "method": "none",
                                  "against": "fresh_per_task"}  # fmt: skip
    later["smallest_effect"] = 0.4
    text, record = reported(study, later)
    assert [answer["added"] for answer in record["answers"]] == [None, "fresh_per_task, none"]
    assert [answer["outcome"] for answer in record["answers"]] == ["inside", "inside"]
    assert "It is inside. Added when fresh_per_task, none had begun." in text
    assert "- protocol: smallest_effect=0.4, when fresh_per_task, none began it was 0.05\n" in text
    begin_with(study / "none", None)
    text, record = reported(study, changed("questions.lost.above", "Better."))
    assert record["answers"][0]["added"] == "fresh_per_task, none"
    assert record["answers"][0]["reading"] == "Better."
    text, record = reported(study, MINE)
    assert record["answers"][0]["added"] == "none"
    other = {**MINE, "questions": {"other": ASKED}}
    assert "runs began with questions that it has no longer: lost" in reported(study, other)[0]


def test_fewer_drawings_and_absent_methods_are_said(study):
    now = copy.deepcopy(MINE)
    now["drawings"] = 20
    now["questions"]["redo"] = {**ASKED, "asks": "Is ReDo?", "method": "redo"}
    text, _ = reported(study, now)
    assert "(0.175 to 0.388), on 2 of 20 drawings. It is above." in text
    assert "- **Is ReDo?** not answered: redo and none are not both there." in text
    for name in ("none", "fresh_per_task"):
        config = (study / name / "config.yaml").read_text()
        (study / name / "config.yaml").write_text(config.replace("per_seed", "shared"))
    text, _ = reported(study, now)
    assert ", on 1 of 20 drawings. It is above." in text
    assert "All seeds met one drawing of the tasks: what another drawing would change is" in text


def test_the_folder_of_a_record_makes_the_report_again_without_runs(study, tmp_path, capsys):
    reported(study)
    kept, again = tmp_path / "results" / "mine", tmp_path / "again"
    assert write.write([study], kept, "the command", lambda name: None)
    names = sorted(path.name for path in kept.iterdir())
    assert names == ["differences.png", "report.json", "report.md", "report.png"]
    for path in kept.iterdir():
        assert path.read_bytes() == (study / path.name).read_bytes()
        if path.name != "report.json":
            path.unlink()
    assert write.write([kept], again, "another command", lambda name: None)
    for name in names:
        assert (again / name).read_bytes() == (study / name).read_bytes(), name
    scores = json.loads((kept / "report.json").read_text())["courses"]["none"]["task_end_by_seed"]
    assert scores == [[0.5, 0.75, 0.8], [1, 0.375, 0.2]]
    capsys.readouterr()
    (kept / "report.json").write_text('{"methods": {}}')
    assert not write.write([kept], again, "another command", lambda name: None)
    assert capsys.readouterr().err == (
        f"error: no report: {kept / 'report.json'} is not what this version writes (KeyError: "
        f"'own_drawings'); {again / 'report.md'} is that of an earlier report\n"
    )


def test_a_record_of_a_large_study_is_small(study, tmp_path):
    """Twenty methods of 20 seeds on 100 tasks, none of whose scores is a round number."""
    _, record = reported(study)
    scores = [[round(0.3 + (7 * i + 13 * k) % 97 / 199, 3) for k in range(100)] for i in range(20)]
    pair = record["differences"][0]
    record["methods"] = {f"method_{i}": record["methods"]["none"] for i in range(20)}
    record["differences"] = [{**pair, "method": name} for name in record["methods"]] * 2
    record["courses"] = {
        name: {**record["courses"]["none"], "task_end_by_seed": scores}
        for name in record["methods"]
    }
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(record))
    assert write.write([folder], folder, "the command", lambda name: None)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert len(sizes) == 4 and max(sizes.values()) < 300_000, sizes


def test_runs_of_one_method_are_pooled_whatever_their_protocol(study):
    for seed, name in ((3, "a"), (4, "b")):
        content = [row for row in rows(FIRST, SECOND) if row["seed"] == seed]
        begin_with(store(study / "apart" / name, content), MINE if name == "a" else None)
    runs, _ = load(folders([study / "apart"]))
    assert [run.seeds for run in runs] == [[3, 4]]
    assert write.write([study / "apart"], study / "apart", "the command", lambda name: None)
    record = json.loads((study / "apart" / "report.json").read_text())
    assert record["answers"][0]["added"] == "b"
