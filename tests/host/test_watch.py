"""What a run leaves to be watched: made by a real run, opened in a real browser."""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import wandb_history
from browser import chromium, silent  # noqa: F401  (a fixture)
from PIL import Image
from tiny import tiny_config

from knife_jax.cli import watch as cli_watch
from knife_jax.config.environments import GridPredatorPreyConfig
from knife_jax.config.run import LoggerConfig, RecordingConfig
from knife_jax.config.schema import ConfigError
from knife_jax.host import watch as watching
from knife_jax.host.loop import train
from knife_jax.host.run import RunInfo
from knife_jax.recordings.film import PAUSE, PER_SECOND, film
from knife_jax.recordings.pack import unpacked
from knife_jax.recordings.page import contents_of
from knife_jax.recordings.picture import SIZE
from knife_jax.records.directory import RECORDING
from knife_jax.records.lines import read_records
from knife_jax.sinks.base import FanOut, JsonLines
from knife_jax.sinks.wandb import WandbSink, open_wandb

pytestmark = pytest.mark.xdist_group("watch")  # they share programs and pages

LIMIT = 7


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that left a recording of 3 episodes."""
    folder = tmp_path_factory.mktemp("watched") / "run"
    env = GridPredatorPreyConfig(
        n_envs=7, scenario="small", size=5, n_agents=3, n_hares=1, time_limit=LIMIT
    )
    config = replace(
        tiny_config(mixer="vdn", seeds=2, env_steps=1000), env=env, run_dir=str(folder), devices=1,
        recording=RecordingConfig(episodes=3), logger=LoggerConfig(table=False, wandb="disabled"),
    )  # fmt: skip
    assert train(config) == 0
    return folder


def read(path):
    return unpacked(contents_of(path.read_text(encoding="utf-8")))


def test_the_recording_of_a_run_is_of_its_final_evaluation(run, capsys):
    header, arrays = read(run / RECORDING)
    assert header["title"] == "grid_predator_prey small, qmix"
    assert header["subtitle"] == "seed 0, greedy policy of 1,015 env steps"
    (final, _) = [r for r in read_records(run / "metrics.jsonl") if r["kind"] == "final"]
    assert header["note"].startswith("The first 3 of the 19 episodes of the final evaluation.")
    assert "all 19 have the mean return of the record" in header["note"]
    watching.watch(run, "newest", 19, "html", run / "all.html", None)  # every episode of it
    every, _ = read(run / "all.html")
    returns = np.float32([one["return"] for one in every["episodes"]])
    assert np.float32(returns.mean()) == np.float32(final["return"])
    assert every["episodes"][:3] != header["episodes"]  # other places in the file,
    same = ("length", "return", "won", "whole")
    for one, other in zip(header["episodes"], every["episodes"], strict=False):
        assert {name: one[name] for name in same} == {name: other[name] for name in same}
        assert len(arrays[one["scene"]["x"]["at"]]) in (1, one["length"] + 1)
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith(f"{run / 'all.html'}: 0.")


def test_a_film_has_a_frame_for_each_step(run):
    header, _ = read(run / RECORDING)
    packed = contents_of((run / RECORDING).read_text(encoding="utf-8"))
    n_frames = sum(one["length"] + PAUSE for one in header["episodes"])
    with Image.open(io.BytesIO(film(packed, "gif"))) as gif:
        assert (gif.format, gif.size) == ("GIF", SIZE)
        shown = sum(
            gif.seek(i) or gif.info["duration"] // (1000 // PER_SECOND) for i in range(gif.n_frames)
        )
        assert shown == n_frames  # equal frames are one that stays longer
    assert film(packed, "mp4")[4:8] == b"ftyp"


def test_other_policies_have_files_of_their_own(run):
    watching.watch(run, "best", 2, "html", None, 1)
    header, _ = read(run / "recording-best-seed1.html")
    assert "seed 1" in header["subtitle"] and len(header["episodes"]) == 2
    assert header["note"] == "The first 2 of the 190 episodes of the absolute metric."


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((4, "html", None, 2), "--seed 2 is refused: must be from 0 to 1"),
        ((20, "html", None, None), "--episodes 20 is refused: must be at most 19"),
    ],
)
def test_what_a_run_does_not_have_is_refused(run, words, text):
    with pytest.raises(ConfigError, match=text):
        watching.watch(run, "newest", *words)


def test_what_cannot_be_written_is_refused_before_anything_is_read(tmp_path, monkeypatch, capsys):
    words = ["watch", str(tmp_path), "--out", str(tmp_path / "nowhere" / "x.html")]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit, match="2"):
        cli_watch.main()
    refused = f"--out {words[-1]} is refused: must be a file in a folder that exists"
    assert capsys.readouterr().err == f"error: {refused}\n"


def refused(monkeypatch, capsys, *words):
    """The one line with which words are refused."""
    monkeypatch.setattr("sys.argv", ["watch", *map(str, words)])
    with pytest.raises(SystemExit, match="2"):
        cli_watch.main()
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line.removeprefix("error: ")


def test_the_end_of_a_files_name_is_its_format(run, tmp_path, monkeypatch, capsys):
    for name, begins in (("a.GIF", b"GIF89a"), ("a.html", b"<!doctype html>"), ("a.mp4", None)):
        out = tmp_path / name
        monkeypatch.setattr("sys.argv", ["watch", str(run), "--episodes", "1", "--out", str(out)])
        cli_watch.main()
        content = out.read_bytes()
        assert content[4:8] == b"ftyp" if begins is None else content.startswith(begins)
    capsys.readouterr()
    line = partial(refused, monkeypatch, capsys)
    out = tmp_path / "b.gif"
    assert line(run, "--format", "html", "--out", out) == (
        f"--out {out} is refused: must end in .html, as --format is html"
    )
    for name in ("b.avi", "b"):
        assert line(run, "--out", name) == (
            f"argument --out: {name} is refused: must end in .html or .gif or .mp4; see --help"
        )
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--episodes 0", "argument --episodes: 0 is refused: must be a whole number, at least 1, "
         "at most 2147483647; see --help"),
        ("--format avi", "argument --format: invalid choice: 'avi' (choose from 'html', 'gif', "
         "'mp4'); see --help"),
        ("--seed 1 --seed 2", "--seed is given 2 times; give it once; see --help"),
        ("--formt gif", "unrecognized arguments: --formt gif; did you mean '--format'?"),
        ("--seed --formt gif", "argument --seed: expected one argument; see --help"),
    ],
)  # fmt: skip
def test_only_an_option_that_does_not_exist_may_mean_another(monkeypatch, capsys, words, line):
    assert refused(monkeypatch, capsys, "run", *words.split()).replace("'", "") == (
        line.replace("'", "")
    )


def test_a_recording_that_cannot_be_written_is_refused(run, monkeypatch, capsys):
    line = refused(monkeypatch, capsys, run, "--episodes", "1", "--out", "/proc/x.html")
    assert line.startswith("/proc/x.html cannot be written: ")


def test_a_recording_that_fails_is_a_warning(run, capsys, tmp_path):
    info = RunInfo(tiny_config(), tmp_path / "nowhere", tmp_path)
    assert watching.leave_recording(watching.Ending(*[None] * 3), info) is None  # type: ignore
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no recording.html: ")


def test_wandb_shows_the_recording_and_its_history_stays_as_it_is(run, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes())
    config = replace(tiny_config(), logger=LoggerConfig(wandb="offline", table=False))
    with FanOut(JsonLines(tmp_path / "metrics.jsonl"), [open_wandb(config, tmp_path)]) as sinks:
        sinks.show(run / RECORDING)
    (shown,) = tmp_path.glob("wandb/offline-run-*/files/media/html/recording_*.html")
    assert shown.read_bytes() == (run / RECORDING).read_bytes()
    *rows, last = wandb_history.logged(tmp_path)
    # in the history, which panels of media show
    media = {name: last.pop(f"recording.{name}") for name in ("_type", "path", "sha256", "size")}
    assert (media["_type"], media["path"]) == ("html-file", f"media/html/{shown.name}")
    assert [*rows, last] == wandb_history.moments(tmp_path)


def test_a_recording_of_moments_that_wandb_has_already_goes_into_its_summary(run, monkeypatch):
    class Online:
        starting_step, summary = 1, {}

        def define_metric(self, *_, **__):
            pass

    sink = WandbSink(Online())
    sink.write([{"kind": "train", "seed": 0, "env_steps": 8, "updates": 0, "task": 0,
                 "wall_time": 1.0, "return": 0.0}])  # fmt: skip
    sink.show(run / RECORDING)
    assert [*Online.summary] == ["recording"]


@pytest.fixture(params=[1280, 390])
def page(request, browser, run):
    """The page of the recording."""
    with silent(browser, run / RECORDING, request.param, 800) as opened:
        opened.locator("#main").wait_for()
        yield opened


def image(page):
    return page.evaluate("document.getElementById('arena').toDataURL()")


def test_the_page_is_driven(page, run):
    header, arrays = read(run / RECORDING)
    first, second, _ = header["episodes"]
    clock, scrubber = page.locator("#clock"), page.locator("#scrubber")
    wide = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert wide and page.title() == "grid_predator_prey small, qmix"
    assert clock.inner_text() == f"step 0 of {first['length']}"
    before = image(page)

    page.clock.install(time=0)
    page.clock.pause_at(1)
    page.keyboard.press("Space")  # plays 4 steps a second
    page.clock.run_for(300)
    assert clock.inner_text() == f"step 1 of {first['length']}"
    page.keyboard.press("Space")
    page.clock.resume()
    assert image(page) != before
    assert page.evaluate("Number.isInteger(player.position)") and not page.evaluate(
        "player.playing"
    )

    scrubber.fill("2")  # lands on the step it names
    assert clock.inner_text() == f"step 2 of {first['length']}"
    assert page.evaluate("player.position") == 2
    values, chosen = (arrays[first[name]["at"]] for name in ("values", "action"))
    for i in range(3):
        cells = page.locator(f"#values tbody tr:nth-child({i + 1}) td")
        assert cells.count() == 6
        action = chosen[min(2, len(chosen) - 1), i]
        mark = cells.nth(int(action))
        assert mark.get_attribute("class") == "on"
        assert float(mark.inner_text().replace("−", "-")) == pytest.approx(
            values[min(2, len(values) - 1), i, action], abs=0.006
        )
    page.keyboard.press("ArrowRight")
    assert clock.inner_text().startswith("step 3 ")
    page.keyboard.press("End")
    assert scrubber.input_value() == str(first["length"])
    collected = page.locator("#score b").inner_text().replace("−", "-")
    assert float(collected) == pytest.approx(first["return"], abs=0.05)

    page.locator("#episodes button").nth(1).click()
    assert clock.inner_text() == f"step 0 of {second['length']}"
    assert "encoder" in page.locator("#strips h3").first.inner_text()
    page.locator("#values tbody th").first.click()  # follows an agent
    assert page.evaluate("player.followed") == 0
