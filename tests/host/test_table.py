"""What the user sees while a run goes on, and at its end."""

import io
import json
import re

import fake_program
import numpy as np
import pytest
from rich.console import Console

from knife_jax.config.run import LoggerConfig
from knife_jax.host.loop import train
from knife_jax.host.show import show_evaluation
from knife_jax.host.summary import results
from knife_jax.records.series import series
from knife_jax.sinks.format import Plan, brief, duration, title
from knife_jax.sinks.plot import draw
from knife_jax.sinks.terminal import LiveTable, terminal

PLAN = Plan("smax 3m, qmix_knife, seeds 5-7", env_steps=1000, n_seeds=3, start=10.0)


def rows(kind, **values):
    """Rows of seeds 5, 6, 7 at 400 env steps, 20 s into training of which 5 s were evaluation."""
    same = {"kind": kind, "env_steps": 400, "updates": 8, "task": 0, "wall_time": 30.0}
    if kind == "train":
        same["train_seconds"] = 15.0
    return [
        same | {"seed": 5 + s} | {name: value[s] for name, value in values.items()}
        for s in range(3)
    ]


TRAIN = rows(
    "train", **{"return": [2.0, 4.5, 3.1], "win_rate": [0.25] * 3, "loss": [0.5, None, 2.5]},
    epsilon=[0.1] * 3, stagnant_pct=[0.0, 10.0, 20.0], dormant_pct=[2.5] * 3,
    grafted_units=[3, 4, 8],
)  # fmt: skip
EVAL = rows("eval", **{"return": [9.0, 19.0, 11.0], "win_rate": [0.5, 1.0, 0.0]})


def live_text(*writes, plan=PLAN):
    """The last picture of a live table in a terminal of 100 columns, without its control codes."""
    out = io.StringIO()
    table = LiveTable(plan, terminal(Console(file=out, force_terminal=True, width=100)))
    for written in writes:
        table.write(written)
    table.close()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    return plain[plain.rindex(plan.title) :]


def line_of(text, label):
    return next(line.split() for line in text.splitlines() if line.strip().startswith(label))


def test_the_live_table_shows_every_number_with_its_spread():
    text = live_text(TRAIN, EVAL)
    assert "40%" in text and "400 / 1,000 env steps" in text
    assert "ETA 0:30" in text  # 600 steps at 400 per 20 s
    assert "80 env steps/s (3 seeds together, training alone, compilation not counted)" in text
    expected = {
        "return": "3.2 2 to 4.5 5",
        "win rate": "0.25",
        "loss": "1.5 0.5 to 2.5 7",
        "epsilon": "0.1",
        "stagnant %": "10 0 to 20 7",
        "dormant %": "2.5",
        "grafted units": "5 3 to 8",
        "evaluation return": "13 9 to 19 5",
        "evaluation win rate": "0.5 0 to 1 7",
    }
    for label, numbers in expected.items():
        assert line_of(text, label) == [*label.split(), *numbers.split()]


def test_one_seed_has_no_spread():
    text = live_text(TRAIN[:1], plan=PLAN._replace(n_seeds=1))
    assert "worst seed" not in text and "evaluation" not in text
    assert line_of(text, "return") == ["return", "2"]
    assert "27 env steps/s (training alone" in text


def test_the_evaluation_stays_while_training_goes_on():
    text = live_text(TRAIN, EVAL, TRAIN)
    assert line_of(text, "evaluation return")[:3] == ["evaluation", "return", "13"]


def test_without_a_terminal_there_are_plain_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    fake_program.install(monkeypatch)
    assert train(fake_program.config(run_dir=str(tmp_path))) == 0
    out = capsys.readouterr().out
    assert out.isascii() and not re.search(r"[\x00-\x09\x0b-\x1f]", out)
    lines = out.splitlines()
    assert lines[0] == "smax 3m, qmix_knife, seeds 5-7: compiling"
    traced = re.fullmatch(r"traced in (\d+\.\d) s, compiling training and evaluation", lines[1])
    waited = re.fullmatch(r"compiled in (\d+\.\d) s", lines[2])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert traced and waited and float(traced[1]) <= float(waited[1])
    assert float(waited[1]) == pytest.approx(summary["compile_seconds"], abs=0.1)
    assert re.fullmatch(r"200/1,000 env steps \| eta [\d:]+ \| [\d,]+ env steps/s .*", lines[3])
    assert lines[3].endswith(
        " | return 3 [2 to 4, worst seed 5] | win rate 0.25 | loss 1.5 [0.5 to 2.5, worst seed 7]"
        " | epsilon 0.1 | stagnant % 10 [0 to 20, worst seed 7] | dormant % 2.5"
        " | grafted units 4 [3 to 5]"
    )
    evaluation = "400/1,000 env steps | evaluation return 13 [3 to 23, worst seed 5]"
    assert lines[5].startswith(evaluation)


@pytest.mark.parametrize("has_win", [True, False])
def test_the_end_shows_each_seed_and_where_the_files_are(tmp_path, monkeypatch, capsys, has_win):
    fake_program.install(monkeypatch, has_win=has_win)
    logger = LoggerConfig(wandb="disabled", table=False)
    assert train(fake_program.config(run_dir=str(tmp_path), logger=logger)) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.startswith("final greedy evaluation, 7 episodes per seed\n")
    cells = [re.findall(r"[\w.]+", line) for line in out.splitlines() if line.startswith("|")]
    expected = [
        ["seed", "return", "win", "rate"],
        ["5", "3", "0.143"], ["6", "13", "0.286"], ["7", "23", "0.429"], ["mean", "13", "0.286"],
    ]  # fmt: skip
    best = "absolute metric, 70 other episodes per seed with the best policy, of 400 env steps"
    assert f"\n{best}: return 13{', win rate 0.286' * has_win}\n" in out
    assert [row for row in cells if row] == [row if has_win else row[:2] for row in expected]
    assert "1,000 env steps and 20 updates per seed in " in out and "regret" not in out
    assert "surgeries: 5, units operated on per seed: 15, 20, 25; largest change" in out
    files = "config.yaml, metrics.jsonl, summary.json, params.safetensors, curve.png"
    assert f"{tmp_path}: {files}\n" in out


def test_the_regret_is_shown_where_the_optimum_is_known(capsys):
    now = {"kind": "final", "env_steps": 8, "updates": 2, "task": 0, "episodes": 4}
    records = [
        {**now, "seed": 3, "return": 7.0, "regret": 1.0},
        {**now, "seed": 4, "return": 5.5, "regret": 2.5},
    ]
    summary = {"seeds": [3, 4], **results(records, [3, 4])}
    assert (summary["final_regret"], summary["final_regret_mean"]) == ([1.0, 2.5], 1.75)
    assert summary["absolute_regret"] == [None, None]
    show_evaluation(summary, "final")
    lines = [re.findall(r"[\w.]+", line) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line] == [
        ["seed", "return", "regret"],
        ["3", "7", "1"], ["4", "5.5", "2.5"], ["mean", "6.25", "1.75"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0.0, "0"), (12345.678, "12346"), (12.345, "12.3"), (0.12345, "0.123"),
        (1.2e-5, "1.2e-05"), (-3.0, "-3"), (2.5e7, "2.5e+07"), (140.3, "140"), (999.7, "1000"),
    ],
)  # fmt: skip
def test_brief_numbers(value, text):
    assert brief(value) == text


def test_durations():
    assert [duration(s) for s in (0.4, 123, 3723)] == ["0:00", "2:03", "1:02:03"]


def test_a_run_in_a_few_words():
    assert title(fake_program.config()) == "smax 3m, qmix_knife, seeds 5-7"
    assert title(fake_program.config(num_seeds=1)) == "smax 3m, qmix_knife, seed 5"


def test_series_of_the_curve_hold_each_seed_and_nan_where_nothing_is_known():
    steps, values = series(TRAIN, "train", "loss")
    assert steps.tolist() == [400] and values.tolist() == [[0.5], [2.5]]
    later = [row | {"env_steps": 800} for row in TRAIN[:1]]
    steps, values = series(TRAIN + later, "train", "return")
    assert steps.tolist() == [400, 800]
    np.testing.assert_array_equal(values, [[2.0, 2.0], [4.5, np.nan], [3.1, np.nan]])


@pytest.mark.parametrize("known", [[], TRAIN, TRAIN + EVAL])
def test_a_curve_is_drawn_from_whatever_there_is(known):
    assert draw(known, "title").startswith(b"\x89PNG")
