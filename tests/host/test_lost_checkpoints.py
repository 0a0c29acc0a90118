"""``resume=auto`` where a run has lost its checkpoints or more. The program is the fake."""

import json
import shutil
from contextlib import closing

import fake_program
import numpy as np
import pytest
from stored import end_of

from knife_jax.cli import evaluate
from knife_jax.host.loop import train
from knife_jax.records.checkpoint import Checkpoints
from knife_jax.records.reading import sealed


@pytest.fixture(autouse=True, scope="module")
def program():
    with pytest.MonkeyPatch.context() as patch:
        fake_program.install(patch)
        yield


@pytest.fixture(scope="module")
def complete(program, tmp_path_factory):
    """A run of 1000 steps with checkpoints at 200, 400, 800 and 1000."""
    folder = tmp_path_factory.mktemp("complete") / "run"
    assert train(config(folder)) == 0
    return folder


@pytest.fixture
def run(complete, tmp_path, capsys):
    """A copy of it, to be damaged."""
    shutil.copytree(complete, tmp_path / "run")
    capsys.readouterr()
    return tmp_path / "run"


def config(folder, **changes):
    return fake_program.config(run_dir=str(folder), checkpoint_every=400, keep=9, **changes)


def remove(run, *names):
    for name in names:
        (run / name).unlink()


def say(run, **changes):
    """Change what ``summary.json`` says."""
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(sealed(summary | changes)))


def no_checkpoints(run):
    shutil.rmtree(run / "checkpoints")


def no_steps(run):
    no_checkpoints(run)
    (run / "checkpoints").mkdir()


def only_aside(run):
    no_steps(run)
    (run / "checkpoints" / "1000.aside").mkdir()
    remove(run, "summary.json", "metrics.jsonl", "params.safetensors", "curve.png")


def only_torn(run):
    no_steps(run)
    (run / "checkpoints" / "1000.orbax-checkpoint-tmp-17").mkdir()


def only_odd_names(run):
    for step in list((run / "checkpoints").iterdir()):
        step.rename(step.with_name({"1000": "٣", "800": "007"}.get(step.name, f"-{step.name}")))


def only_rows(run):
    no_checkpoints(run)
    remove(run, "config.yaml", "summary.json", "params.safetensors", "curve.png")


def only_networks(run):
    no_checkpoints(run)
    remove(run, "config.yaml", "summary.json", "metrics.jsonl", "curve.png")


def killed_later(run):
    """After a checkpoint, which is gone now."""
    no_checkpoints(run)
    remove(run, "params.safetensors", "curve.png")
    say(run, status="running")


def unreadable_summary(run):
    killed_later(run)
    (run / "summary.json").write_text("null")
    (run / "metrics.jsonl").write_text("")


ALL = "summary.json, metrics.jsonl, params.safetensors, curve.png"
LOST = {
    no_checkpoints: ALL,
    no_steps: ALL,
    only_aside: "1000.aside",
    only_torn: ALL,
    only_odd_names: ALL,
    only_rows: "metrics.jsonl",
    only_networks: "params.safetensors",
    killed_later: "summary.json, metrics.jsonl",
    unreadable_summary: "summary.json",
}


@pytest.mark.parametrize("damage", LOST, ids=lambda damage: damage.__name__)
def test_results_without_a_checkpoint_are_never_trained_over(run, capsys, damage):
    damage(run)
    before = {path: path.is_file() and path.read_bytes() for path in run.rglob("*")}
    assert train(config(run, resume="auto")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"error: run_dir={run} holds results ({LOST[damage]}) but no checkpoint to go on from: "
        "put its checkpoints back, or choose another folder"
    )
    new = run.with_name("new")
    for wanted in (config(run, resume=str(run)), config(new, resume=str(run))):
        assert train(wanted) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"error: resume={run} is refused: it holds no checkpoint"
    assert {path: path.is_file() and path.read_bytes() for path in run.rglob("*")} == before
    assert not new.exists()


def test_without_a_first_checkpoint_a_run_begins_again_and_keeps_its_rows(run, complete, capsys):
    content = (run / "metrics.jsonl").read_bytes()[:-30]
    for i, status in enumerate(("running", "failed"), 1):  # a scheduler may kill it again
        killed_later(run)
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "400.orbax-checkpoint-tmp-0").mkdir()
        say(run, status=status, checkpoint=None)
        (run / "metrics.jsonl").write_bytes(content)
        assert train(config(run, resume="auto")) == 0
        (line,) = capsys.readouterr().err.splitlines()
        kept = f"its records are in metrics.jsonl.aside{i}"
        assert line == f"warning: {run} came to no checkpoint and begins anew: {kept}"
        assert (run / f"metrics.jsonl.aside{i}").read_bytes() == content
        assert end_of(run) == end_of(complete)


def test_the_first_checkpoint_is_written_down(run):
    """From then on a run without it does not begin anew."""
    seen = {}

    def look(clock):
        summary = json.loads((folder / "summary.json").read_text())
        seen[int(clock.rounds)] = summary["status"], summary["checkpoint"]

    fake_program.SEEN_CLOCK, folder = look, run.with_name("new")
    try:
        assert train(config(folder)) == 0
    finally:
        fake_program.SEEN_CLOCK = None
    assert seen[0] == ("running", None) and seen[6] == ("running", 200)
    assert json.loads((folder / "summary.json").read_text())["checkpoint"] == 1000


def test_a_signal_before_the_first_step_leaves_nothing_to_lose(run, complete, capsys):
    no_checkpoints(run)
    say(run, status="interrupted", checkpoint=None, env_steps=0)
    (run / "metrics.jsonl").write_text("")
    assert train(config(run, resume="auto")) == 0
    assert end_of(run) == end_of(complete) and capsys.readouterr().err == ""


def test_what_a_checkpoint_holds_is_put_back(run, complete, capsys):
    """Whatever else is damaged, and however the folder of checkpoints is littered."""
    (run / "config.yaml").write_text("- 1\n- 2\n")
    (run / "summary.json").write_text("null")
    content = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(b"\0\xff" + content[:100] + content)
    remove(run, "params.safetensors")
    for name in ("٣", "²", "007", "-5", "1e5", "0x10", "9" * 200):
        (run / "checkpoints" / name).mkdir()
    (run / "checkpoints" / "5000").write_text("a file")
    (run / "checkpoints" / "6000").symlink_to("6000")
    assert train(config(run, resume="auto")) == 0
    out, err = capsys.readouterr()
    assert "going on from checkpoint 1,000" in out and err == ""
    assert end_of(run) == end_of(complete)
    networks = "params.safetensors"
    assert (run / networks).read_bytes() == (complete / networks).read_bytes()
    assert (run / "checkpoints" / "5000.aside").read_text() == "a file"


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.yaml", "checkpoints"])
def test_a_name_that_is_taken_by_something_else_is_refused(run, capsys, name):
    if name == "checkpoints":
        shutil.rmtree(run / name)
        (run / name).symlink_to(name)
    else:
        remove(run, name)
        (run / name).mkdir()
    assert train(config(run, resume="auto")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    kind = "a folder" if name == "checkpoints" else "a file"
    assert line == f"error: run_dir={run} is refused: its {name} is not {kind}"


@pytest.mark.parametrize("kind", ["file", "dangling", "loop"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, capsys, kind):
    path = tmp_path / "folder"
    if kind == "file":
        path.write_text("")
    else:
        path.symlink_to("folder" if kind == "loop" else "nowhere")
    for resumed in (None, "auto", str(path)):
        assert train(config(path, resume=resumed)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: run_dir={path} cannot be written: ")


def evaluated(capsys, *words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["evaluate", *map(str, words)])
        code = 0
        try:
            evaluate.main()
        except SystemExit as ended:
            code = ended.code
    return code, *capsys.readouterr()


def test_a_stored_policy_is_evaluated_from_a_whole_checkpoint_or_not_at_all(run, complete, capsys):
    code, expected, err = evaluated(capsys, complete)
    assert code == 0 and err == "" and "checkpoint 1,000 of" in expected
    for name in ("config.yaml", "summary.json", "metrics.jsonl"):
        (run / name).write_bytes(bytes(range(256)))
    (run / "checkpoints" / "٣").mkdir()
    (run / "checkpoints" / "5000").symlink_to("5000")
    assert evaluated(capsys, run) == (0, expected.replace(str(complete), str(run)), "")
    for which in ("٣", "5000", "0x10", "9" * 5000):
        code, out, err = evaluated(capsys, run, "--checkpoint", which)
        assert (code, out) == (2, "") and err.startswith(f"error: checkpoint {which} is refused")
    (run / "checkpoints" / "1000" / "about" / "metadata").write_text("[]")
    code, out, err = evaluated(capsys, run)
    assert code == 0 and "checkpoint 800 of" in out and err.count("\n") == 1
    assert err.startswith("warning: checkpoint 1,000 is skipped: ")
    no_steps(run)
    (run / "checkpoints").rmdir()
    (run / "checkpoints").symlink_to("checkpoints")
    assert evaluated(capsys, run) == (2, "", f"error: {run} is refused: it holds no checkpoint\n")


def test_doubled_rows_in_a_checkpoint_are_dropped(run, complete, capsys):
    with closing(Checkpoints(run / "checkpoints")) as stored:
        about = stored.about(800)
        arrays = dict(stored.arrays(800, about))
        arrays["metrics"] = np.concatenate([arrays["metrics"]] * 2)
        stored.save(800, arrays, about)
        stored.wait()
    shutil.rmtree(run / "checkpoints" / "1000")
    assert train(config(run, resume="auto")) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "warning: checkpoint 800, metrics.jsonl: 30 doubled records are dropped"
    assert end_of(run) == end_of(complete)
