"""The model of what a round costs, by hand: nothing is trained or compiled."""

import json
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh

from knife_jax.cli import compose
from knife_jax.parallel.shards import AXIS, SAME

sys.path.append(str(Path(__file__).parents[2] / "experiments" / "bench"))

import cost_model
import measured
from cost_model import BASES, FITTED, Kind, fit, predict, seconds_each, terms
from counts import Counts, counted, counts
from scaling import words_of

SMALL = ["env=matrix_game", "algo=vdn", "env.n_envs=8", "algo.batch_size=4", "algo.hidden=8"]
COUNTS = Counts(
    steps=16, updates=3, passes=20, flops=100, bytes=50, made=10, moved=40, replay=1000, state=1200,
    messages=3, message_bytes=600,
)  # fmt: skip
KIND = Kind(
    flops=1000.0, bytes=100.0, moved=80.0, seed_pass=0.01, a_pass=0.1, step=0.5, update=2.0,
    message=0.25, link=900.0, memory=4000.0,
)  # fmt: skip


def test_what_a_program_does_is_counted_by_hand():
    def step(x, _):
        return jax.lax.psum(x @ jnp.ones((5, 5)), AXIS), None

    f = partial(jax.shard_map, mesh=AbstractMesh((2,), (AXIS,)), in_specs=SAME, out_specs=SAME)
    found, _ = counted(
        f(lambda x: jax.lax.scan(step, x, None, 7)[0], check_vma=False), jnp.ones((3, 5))
    )
    assert found == {
        "passes": 7,
        "flops": 7 * 2 * 3 * 5 * 5,
        "bytes": 7 * 4 * (3 * 5 + 5 * 5 + 3 * 5),
        "made": 7 * 4 * 3 * 5,
        "messages": 7,
        "message_bytes": 7 * 4 * 3 * 5,
    }


def test_a_seed_over_two_devices_is_half_of_the_work_on_each():
    config = compose([*SMALL, "algo.window=4", "algo.buffer_size=64", "algo.updates_per_round=3"])
    whole, half = counts(config, 1), counts(config, 2)
    assert (whole.steps, whole.updates) == (half.steps, half.updates) == (4, 3)
    assert whole.passes == half.passes > 3 * 4
    assert (whole.flops, whole.replay) == (2 * half.flops, 2 * half.replay)
    assert whole.moved == 2 * half.moved == whole.replay // 64 * (8 + 3 * 4)
    assert (whole.messages, whole.message_bytes, half.messages) == (0, 0, 3)
    # at least the gradient of the GRU's six square products, at most what a device keeps
    assert 4 * 6 * 8 * 8 < half.message_bytes / 3 < half.state - half.replay


def test_a_round_by_hand():
    one = predict(COUNTS._replace(messages=0, message_bytes=0), KIND, seeds=2)
    assert one.work == pytest.approx(2 * (100 / 1000 + 50 / 100 + 40 / 80 + 20 * 0.01))
    assert one.in_turn == pytest.approx(20 * 0.1 + 16 * 0.5 + 3 * 2.0)
    assert (one.exchange, one.seconds) == (0, one.work + one.in_turn)
    assert (one.replay_bytes, one.program_bytes) == (2000, 2 * 1207)
    split = predict(COUNTS, KIND, seeds=2, groups=3, shards=4)
    assert (split.devices, split.messages, split.message_bytes) == (12, 3, 1200)
    # a ring sends each number twice, but for its own part
    assert split.exchange == pytest.approx(3 * 0.25 + 2 * 3 / 4 * 1200 / 900)


@pytest.mark.parametrize(
    ("n", "used"), [(1, (3, 1, 1)), (2, (3, 2, 2)), (6, (1, 2, 6)), (256, (1, 4, 12))]
)
def test_devices_that_cannot_be_used_are_not(n, used, monkeypatch):
    monkeypatch.setattr(cost_model, "counts", lambda config, shards: COUNTS)
    config = compose([*SMALL, "algo.buffer_size=64", "num_seeds=3"])
    _, made = cost_model.of_config(config, "v5e", n)
    assert (made.seeds, made.shards, made.devices) == used


def test_constants_are_found_again():
    of = lambda seeds, **sizes: terms(COUNTS._replace(**sizes), seeds)  # noqa: E731
    each = seconds_each(KIND)
    rows = [of(1), of(4), of(2, flops=7, passes=3), of(1, moved=900), of(1, updates=50)]
    timed = [(row, sum(n * each[name] for name, n in row.items())) for row in rows]
    names = ("flops", "seed_pass", "update")
    assert fit(timed, names, KIND) == pytest.approx({name: each[name] for name in names})


def test_rounds_on_record_are_read():
    page = (
        "# Page\n\n## Sizes: `scaling.py`\n\n"
        "| seeds | seconds a round | processor seconds | memory, MB a device |\n"
        "|---|---|---|---|\n| 1, split | 0.105 | 0.192 | 17 |\n| 1, again | 0.141 | 0.220 | 17 |\n"
        "| 32 | 2.95 | 5.40 | 1,508 |\n\n"
        "| agents | seconds a round |\n|---|---|\n| 8 (8m) | 0.241 |\n\n"
        "## Memory\n\n| seeds | x |\n"
    )
    rows = [*measured.of_cores(page)]
    assert [(row.process, row.name, row.seconds, row.bytes) for row in rows] == [
        ("seeds", "seeds 1, split", 0.096, 17e6),
        ("seeds, again", "seeds 1, again", 0.11, 17e6),
        ("seeds, again", "seeds 32", 2.7, 1508e6),
        ("agents", "agents 8 (8m)", 0.241, None),
    ]
    assert (rows[2].config.num_seeds, rows[3].config.env.scenario) == (32, "8m")


def test_rows_that_are_fitted_and_bases_are_on_record():
    rows = [*measured.of_cores((measured.HERE / "README.md").read_text(encoding="utf-8"))]
    names = [row.name for row in rows]
    assert {*FITTED["core"], *BASES} <= {*names} and len({*names}) == len(names)
    assert sorted(row.process for row in rows if row.name in BASES) == sorted(
        {row.process for row in rows}
    )


def test_words_of_an_axis_are_given_once():
    assert words_of("agents", "8m", ["algo.buffer_size=64"]) == [
        "env=smax", "algo=qmix", "algo.buffer_size=64", "env.scenario=8m",
    ]  # fmt: skip


def test_what_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(cost_model, "counts", lambda config, shards: COUNTS)
    monkeypatch.setitem(cost_model.KINDS, "core", KIND)
    words = [*SMALL, "algo.buffer_size=64", "algo.window=5", "num_seeds=2"]
    monkeypatch.setattr(
        sys, "argv", ["cost_model.py", "--kind", "core", "--devices", "1,4", *words]
    )
    cost_model.main()
    *shown, last = capsys.readouterr().out.splitlines()
    first, second = json.loads(last)["rounds"]
    assert (first["seeds"], first["shards"], second["seeds"], second["shards"]) == (2, 1, 1, 2)
    table = {line[:28].strip(): line[28:].split() for line in shown}
    assert table["devices used"] == ["1", "4"]
    assert table["env steps/s"] == [f"{2 * 5 * 8 / r['seconds']:,.0f}" for r in (first, second)]
    assert table["of its memory"] == [f"{1207 * seeds / 4000:.1%}" for seeds in (2, 1)]


def test_a_check_by_hand(monkeypatch, capsys):
    monkeypatch.setattr(cost_model, "counts", lambda config, shards: COUNTS)
    monkeypatch.setitem(cost_model.KINDS, "core", KIND)
    config = compose([*SMALL, "algo.buffer_size=64"])
    seconds = predict(COUNTS, KIND, 1, 1, 2).seconds
    base = measured.Timed("hidden units", "hidden units 64", config, "core", 2, seconds / 2, 1207.0)
    other = base._replace(name="hidden units 128", seconds=seconds / 4)
    gpu = base._replace(process="parts", name="2s3z", kind="h200")
    found = cost_model.check([base, other, gpu])["errors"]
    assert found["hidden units 64"] == pytest.approx(
        {"seconds": 1.0, "at_its_speed": 0.0, "bytes": 0.0, "fitted": True}
    )
    assert found["hidden units 128"] == pytest.approx(
        {"seconds": 3.0, "at_its_speed": 1.0, "bytes": 0.0, "fitted": False}
    )
    assert "hidden units 128" in capsys.readouterr().out
