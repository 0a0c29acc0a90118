"""A study at several levels of a field: what is run, and what is made of the levels' reports."""

import pytest
from fake_runs import FIRST, FRESH, rows, store

from knife_jax.cli import compose
from knife_jax.cli.study import jobs
from knife_jax.config.schema import ConfigError
from knife_jax.report import levels, write

OPTIMUM = [8, 8, 10]


def test_every_method_is_run_at_every_level(tmp_path):
    listed = jobs("matrix_shared", "none,knife", tmp_path, [], None, "env.shared=0,0.5")
    assert [str(job.folder.relative_to(tmp_path)) for job in listed] == [
        "env.shared=0/none", "env.shared=0/knife", "env.shared=0.5/none", "env.shared=0.5/knife",
    ]  # fmt: skip
    assert [job.config.env.shared for job in listed] == [0, 0, 0.5, 0.5]
    assert all(f"run_dir={job.folder}" in job.words for job in listed)
    of_file = jobs("matrix_shared", "none", tmp_path, [])
    assert [job.config.env.shared for job in of_file] == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert [job.folder.name for job in jobs("matrix_sequence", "none", tmp_path, [])] == ["none"]


@pytest.mark.parametrize(
    "given", ["env.shared", "env.shared=1", "env.shared=0,0.0", "=0,1", "a=b,c"]
)
def test_levels_that_are_none_are_refused(given, tmp_path):
    with pytest.raises(ConfigError) as refused:
        jobs("matrix_shared", "none", tmp_path, [], None, given)
    assert str(refused.value) == (
        f"--levels {given} is refused: must be FIELD=a,b,... with two different numbers or more"
    )


def test_a_level_that_the_field_does_not_allow_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"env\.shared=2\.0 is refused: must be a number"):
        jobs("matrix_shared", "none", tmp_path, [], None, "env.shared=0,2")


@pytest.fixture
def study(tmp_path):
    """KNIFE ends the last task at 1, 6 and 9 of 10, plain QMIX at 5; both seeds are equal."""
    for shared, end in {"0": 1.0, "0.5": 6.0, "1": 9.0}.items():
        for name, last in {"none": 5.0, "knife": end}.items():
            words = ["experiment=matrix_shared", f"env.shared={shared}"]
            words.append("algo=qmix" if name == "none" else f"algo=qmix_{name}")
            course = [*FIRST[:2], [*FRESH[2][:5], last]]
            folder = tmp_path / f"env.shared={shared}" / name
            store(folder, rows(course, course, optimum=OPTIMUM), compose(words))
    return tmp_path


def protocol_of(study):
    return compose([f"experiment={study}"]).experiment.protocol


def test_measures_and_answers_stand_side_by_side(study, capsys):
    folders = levels.folders_of_levels(study)
    assert [folder.name for folder in folders] == ["env.shared=0", "env.shared=0.5", "env.shared=1"]
    for folder in folders:
        assert write.write([folder], folder, "", protocol_of)
    capsys.readouterr()
    assert levels.written(study)
    table = (study / "levels.md").read_text()
    assert capsys.readouterr().out.startswith(table)
    heads = "| env.shared=0 | env.shared=0.5 | env.shared=1 |"
    assert table.count(heads) == 2
    assert "| `knife` | 0.1 (0.1 to 0.1) | 0.6 (0.6 to 0.6) | 0.9 (0.9 to 0.9) |" in table
    assert "| `none` | 0.5 (0.5 to 0.5) | 0.5 (0.5 to 0.5) | 0.5 (0.5 to 0.5) |" in table
    (helps,) = (
        line for line in table.splitlines() if line.startswith("| Does KNIFE score higher than no")
    )
    assert helps.split(" | ")[1:] == [
        "no, below: -0.4 (-0.4 to -0.4)", "yes: 0.1 (0.1 to 0.1)", "yes: 0.4 (0.4 to 0.4) |",
    ]  # fmt: skip
    assert "layer normalisation" not in table, "it is not asked here"
    assert (study / "levels.png").read_bytes()[:4] == b"\x89PNG"


def test_the_report_of_a_study_at_levels_is_made_again_by_its_program(study, monkeypatch, capsys):
    from knife_jax.cli import report

    monkeypatch.setattr("sys.argv", ["report.study", str(study), "--out", str(study / "again")])
    with pytest.raises(SystemExit) as ended:
        report.main()
    assert ended.value.code == 0 and len(list((study / "again").glob("*/report.json"))) == 3
    assert (study / "again" / "levels.png").exists()


def test_one_level_is_no_figure(study, capsys):
    assert write.write([study / "env.shared=0"], study / "env.shared=0", "", protocol_of)
    capsys.readouterr()
    assert not levels.written(study)
    said = f"error: no report of levels: 1 of the levels in {study} have one, at least 2 must\n"
    assert capsys.readouterr().err == said
