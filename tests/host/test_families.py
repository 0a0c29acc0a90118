"""What several studies say together: their records side by side, made by hand."""

import json

import numpy as np
import pytest

from knife_jax.report import families, stats
from knife_jax.report.write import stored

SEEDS = [3, 5, 8]


def record(folder, primary="late_score", **ends):
    """A study's record: method -> scores by seed and task; KNIFE against none is asked about."""
    folder.mkdir(parents=True)
    both = min(map(len, ends.values()))
    a, b = (np.array(ends[name])[:both, -1:] for name in ("knife", "none"))
    value, *interval = map(float, stats.pooled(a, b))
    answer = {"name": "knife_helps", "asks": "Does it?", "method": "knife", "against": "none"}
    answer |= {"outcome": "x", "difference": {"iqm": value, "interval": interval}}
    report = {
        "primary": primary,
        "protocol": {"smallest_effect": 0.05},
        "answers": [answer, {"name": "open", "asks": "And this?", "method": "a", "against": "b"}],
        "methods": {name: {"seeds": SEEDS[: len(rows)]} for name, rows in ends.items()},
        "courses": {name: {"task_end_by_seed": rows} for name, rows in ends.items()},
    }
    (folder / families.NUMBERS).write_text(json.dumps(report))


def test_families_count_the_same_and_are_drawn_apart(tmp_path, capsys):
    # differences of the last of four tasks: 0.3 with each seed, and 0.1 with each seed
    ends = [[0, 0, 0, 0.5], [0, 0, 0, 0.6], [0, 0, 0, 0.7]]
    record(tmp_path / "a", knife=(np.array(ends) + 0.3).tolist(), none=ends)
    record(tmp_path / "b", knife=(np.array(ends) + 0.1).tolist(), none=ends)
    at = families.folders_of_studies(tmp_path)
    assert [folder.name for folder in at] == ["a", "b"]
    assert families.written(at, tmp_path / "out")
    row = (tmp_path / "out" / families.TABLE).read_text().splitlines()[-1]
    assert row == (
        "| Does it? | `knife` − `none` | yes: 0.3 (0.3 to 0.3) | yes: 0.1 (0.1 to 0.1) "
        "| yes: 0.2 (0.2 to 0.2) |"
    )
    assert (tmp_path / "out" / families.FIGURE).read_bytes().startswith(b"\x89PNG")
    assert "And this?" not in capsys.readouterr().out


def test_the_interval_over_families_is_that_of_independent_drawings():
    rng = np.random.default_rng(7)
    pairs = [tuple(rng.normal(size=(2, 40, 3))) for _ in range(4)]
    value, low, high = stats.over_families(pairs)
    each = [stats.pooled(a, b) for a, b in pairs]
    assert value == pytest.approx(np.mean([e.value for e in each]))
    # variances of independent families add up; those of one draw for all would not
    widths = np.array([e.high - e.low for e in each])
    assert high - low == pytest.approx(np.sqrt((widths**2).sum()) / 4, rel=0.1)
    assert np.isnan(stats.over_families([(a[:1], b[:1]) for a, b in pairs])[1:]).all()


def test_only_seeds_that_both_methods_have_are_paired(tmp_path):
    same = [[0.25] * 4, [0.5] * 4]
    record(tmp_path / "a", knife=[[0.5] * 4, [0.75] * 4, [9.0] * 4], none=same)
    record(tmp_path / "b", knife=same, none=same)
    asked = families.questions({name: stored(tmp_path / name) for name in "ab"})
    assert next(iter(asked)).over["iqm"] == 0.125  # of 0.25 and 0


def test_what_cannot_be_put_together_is_one_line(tmp_path, capsys):
    ends = [[0.5] * 4] * 3
    record(tmp_path / "a", knife=ends, none=ends)
    assert families.folders_of_studies(tmp_path) == []  # a single one
    record(tmp_path / "b", "area", knife=ends, none=ends)
    assert not families.written(families.folders_of_studies(tmp_path), tmp_path)
    assert "no report over a, b: a record has no area by seed" in capsys.readouterr().err
    (tmp_path / "b" / families.NUMBERS).write_text('{"answers": [{"outcome": 1}]}')
    assert not families.written(families.folders_of_studies(tmp_path), tmp_path)
    assert f"a report.json in {tmp_path} is not what this version writes" in capsys.readouterr().err
