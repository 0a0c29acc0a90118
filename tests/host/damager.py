"""Damage run directories at random: every program must say so in one line, and nothing is lost.

    python tests/host/damager.py [--damages 200] [--seed 0] [--processes 12]

Three finished runs (of the fake program, so that a command takes a second) are copied, something in
one of them is damaged, and a random command reads them: the report, ``train`` with ``resume=auto``
or ``resume=PATH``, ``evaluate``, or the question of a study whether the run is complete. So many as
``--processes`` says are real processes over a small real study. Each time

- there is no traceback, at most one line that begins with ``error:``, and a documented exit code,
- the report has the numbers of the healthy runs, and of the damaged one the same as ever or none,
- a run that goes on ends with the bits of the undamaged one, and what is refused stays as it is,
- ``evaluate`` prints what it prints of a checkpoint that is whole, and names that.

The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fake_program
from stored import end_of

from knife_jax.cli import evaluate, report, study
from knife_jax.config.methods import PLASTICITIES
from knife_jax.config.run import Config
from knife_jax.host.loop import train
from knife_jax.records.compare import hash_of
from knife_jax.records.reading import RecordError, read_run

ROOT = Path(__file__).parents[2]
METHODS = ("none", "redo", "wider")
WORDS = """
env.n_envs=8 env.n_tasks=2 env.steps_per_task=512 env_steps=1024 num_seeds=2 algo.hidden=8
algo.embed=4 algo.hyper_hidden=8 algo.window=4 algo.batch_size=8 algo.buffer_size=64
algo.learning_starts=64 log_every=256 evaluation.every=256 evaluation.episodes=8 probes.every=0
recording.episodes=0
checkpoint.every=256 logger.wandb=disabled logger.table=false devices=1
"""
FOREIGN = (
    b"", b"null", b"[]", b"- 1\n- 2\n", b'{"status": 1}', b'{"a": {"b": [1, 2]}}\n', b"\0" * 100,
    bytes(range(256)), b"\xef\xbb\xbf{}", b"seed: 1\n", b"[" * 500, b"9" * 5000, b"NaN\n",
    b'{"kind": "eval"}\n', b"a: &a [*a]\n", b"status: !!python/object:os.system x\n",
)  # fmt: skip
ODD = ("٣", "²", "007", "-5", "1e5", "0x10", "9" * 200, "1000 ", "99999999999999999999", ".1")


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


# --- damages: each takes a path and a source of chance, and says what it did ---


def cut(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content) + 1)])


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes() or b"\0")
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def delete(path: Path, chance: random.Random) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def foreign(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.choice(FOREIGN))


def folder(path: Path, chance: random.Random) -> None:
    delete(path, chance)
    path.mkdir()


def file(path: Path, chance: random.Random) -> None:
    delete(path, chance)
    path.write_bytes(chance.choice(FOREIGN))


def loop(path: Path, chance: random.Random) -> None:
    delete(path, chance)
    path.symlink_to(path.name)


def dangling(path: Path, chance: random.Random) -> None:
    delete(path, chance)
    path.symlink_to("nowhere")


def rename(path: Path, chance: random.Random) -> None:
    path.rename(path.with_name(chance.choice((*ODD, f"{path.name}.aside", f"{path.name}.old"))))


def double(path: Path, chance: random.Random) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    at = chance.randrange(len(lines) + 1)
    path.write_bytes(b"".join(lines + lines[at:]))


def swap(path: Path, chance: random.Random) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    chance.shuffle(lines)
    path.write_bytes(b"".join(lines))


def insert(path: Path, chance: random.Random) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(FOREIGN) + b"\n")
    path.write_bytes(b"".join(lines))


def litter(path: Path, chance: random.Random) -> None:
    name = path / chance.choice((*ODD, "5000", "metrics.jsonl.aside1", ".config.yaml.partial"))
    chance.choice((Path.mkdir, Path.touch))(name)


OF_FILES = (cut, flip, delete, foreign, folder, loop, dangling, rename, double, swap, insert)
OF_FOLDERS = (delete, file, loop, dangling, rename, litter)


def damage(run: Path, chance: random.Random) -> str:
    """Do one damage to a run. Says which."""
    folders = [run, run / "checkpoints", *(run / "checkpoints").iterdir()]
    top = [path for path in run.iterdir() if path.is_file()]
    deep = [path for path in (run / "checkpoints").rglob("*") if path.is_file()]
    path = chance.choice(chance.choice((top, top, top, deep, folders)))
    how = chance.choice(OF_FOLDERS if path.is_dir() else OF_FILES)
    how(path, chance)
    return f"{how.__name__} {path.relative_to(run.parent)}"


# --- what is run on them ---


def called(command: Callable[[], int | None]) -> Outcome:
    """A command in this process; a traceback is exit code 70."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = command() or 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc(file=err)
            code = 70
    return Outcome(code, out.getvalue(), err.getvalue())


def with_words(main: Callable[[], None], *words: object) -> Outcome:
    sys.argv = ["program", *map(str, words)]
    return called(main)


def process(*words: object) -> Outcome:
    """A command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def numbers(report: Path) -> dict[str, Any]:
    """What a report says of each method, apart from what a summary alone can tell."""
    methods = json.loads((report / "report.json").read_text())["methods"]
    return {name: values | {"wall_seconds": 0} for name, values in methods.items()}


def content(folder: Path) -> dict[Path, Any]:
    """All that is in a folder."""
    return {
        path: os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
    }


class Bench:
    """Finished runs, and what all commands say of them."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.whole = scratch, scratch / "whole"
        fake_program.install()
        for method in METHODS:
            assert called(lambda m=method: train(self.config(m, self.whole))).code == 0
        self.ends = {method: end_of(self.whole / method) for method in METHODS}
        self.reports = {None: self.reported(self.whole)[1]}
        for method in METHODS:
            others = [self.whole / other for other in METHODS if other != method]
            self.reports[method] = self.reported(*others)[1]
        steps = [path.name for path in (self.whole / "none" / "checkpoints").iterdir()]
        self.played = {step: self.evaluated(self.whole / "none", step).out for step in steps}

    def config(self, method: str, study: Path, **changes: Any) -> Config:
        treatment = PLASTICITIES[method](name=method, method=method)
        place = {"run_dir": str(study / method)} | changes
        return fake_program.config(plasticity=treatment, checkpoint_every=400, **place)

    def reported(self, *paths: Path) -> tuple[Outcome, dict[str, Any]]:
        out = Path(tempfile.mkdtemp(dir=self.scratch))
        export = out / "more" / "scores.json"
        done = with_words(report.main, *paths, "--out", out, "--marl-eval", export)
        return done, numbers(out) if done.code == 0 else {}

    def evaluated(self, run: Path, which: str) -> Outcome:
        done = with_words(evaluate.main, run, "--checkpoint", which)
        return done._replace(out=done.out.replace(str(run.parent), "RUNS"))

    # each command checks what it may have changed or printed

    def report(self, study: Path, victim: str) -> Outcome:
        before = content(study)
        done, found = self.reported(study)
        assert done.code == 0, f"the healthy runs are not reported: {done.err[-600:]}"
        assert found in (self.reports[None], self.reports[victim]), "other numbers"
        named = [line for line in done.err.splitlines() if f"{victim} is left out: " in line]
        gone = victim not in os.listdir(study) or (study / victim).is_file()
        assert (victim in found) or named or gone, "it is not named"
        assert content(study) == before, "something was changed"
        return done

    def resume(self, study: Path, victim: str) -> Outcome:
        before = content(study)
        done = called(lambda: train(self.config(victim, study, resume="auto")))
        if done.code == 0:
            self.check_end(study / victim, done)
            kept = read_run(study / victim)
            assert kept.summary["status"] == "complete" and kept.notes == [], "no whole run"
        elif done.code == 2:
            assert content(study) == before, "something was changed"
        return done

    def check_end(self, run: Path, done: Outcome) -> None:
        """The best policy cannot be played again without its checkpoint, which has to be said."""
        step, sums, rows = self.ends[run.name]
        if "warning: no absolute metric: the best checkpoint, " in done.err:
            rows = [row for row in rows if row["kind"] != "absolute"]
        assert end_of(run) == (step, sums, rows), "another end"

    def branch(self, study: Path, victim: str) -> Outcome:
        before, new = content(study), study.parent / "new"
        path = str(study / victim)
        config = self.config(victim, study, resume=path, run_dir=str(new / victim))
        done = called(lambda: train(config))
        if done.code == 0:
            self.check_end(new / victim, done)
        elif done.code == 2:
            assert not new.exists(), "something was left"
        assert content(study) == before, "something was changed"
        return done

    def evaluate(self, study: Path, victim: str) -> Outcome:
        before = content(study)
        done = self.evaluated(study / victim, random.Random(len(before)).choice(["newest", "1000"]))
        if done.code == 0:
            played = [out.replace("RUNS/none", f"RUNS/{victim}") for out in self.played.values()]
            table = [out.partition("\n")[2] for out in played]
            assert done.out.partition("\n")[2] in table, "other numbers"
        assert content(study) == before, "something was changed"
        return done

    def complete(self, study_folder: Path, victim: str) -> Outcome:
        job = study.Job(victim, [], self.config(victim, study_folder))

        def ask() -> None:
            if study.is_complete(job, study_folder / victim):
                now, then = read_run(study_folder / victim), read_run(self.whole / victim)
                assert now.records == then.records, "other records"
                assert hash_of(now.config) == hash_of(then.config), "another configuration"

        return called(ask)


class Study:
    """A small real study, for real processes."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.whole = scratch, scratch / "study"
        self.words = ["matrix_sequence", "--methods", "none,redo", *WORDS.split()]
        assert process("knife_jax.study", *self.words, "--out", self.whole).code == 0
        self.numbers = numbers(self.whole)

    def study(self, copy: Path, victim: str) -> Outcome:
        done = process("knife_jax.study", *self.words, "--out", copy)
        if done.code == 0:
            assert numbers(copy) == self.numbers, "other numbers"
        return done

    def report(self, copy: Path, victim: str) -> Outcome:
        done = process("knife_jax.report.study", copy)
        assert done.code == 0, "the healthy run is not reported"
        return done

    def evaluate(self, copy: Path, victim: str) -> Outcome:
        return process("knife_jax.evaluate", copy / victim)


def check(done: Outcome, allowed: tuple[int, ...]) -> None:
    """What holds for every command."""
    fine = "Traceback" not in done.err and done.code in allowed
    assert fine, f"ended with {done.code}: {done.err[-600:]}"
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == (done.code != 0) or done.code == 1, f"{len(errors)} errors"
    loose = [
        line for line in done.err.splitlines() if not line.startswith(("error: ", "warning: "))
    ]
    assert not loose, f"lines on stderr: {loose[:3]}"


def one(commands: list[Callable], bench: Bench | Study, chance: random.Random) -> dict[str, Any]:
    """Copy, damage, run, check. What was done, how it ended, and what was ``wrong``."""
    with tempfile.TemporaryDirectory(dir=bench.scratch) as place:
        copy = Path(place) / "study"
        shutil.copytree(bench.whole, copy)
        victim = chance.choice([path.name for path in sorted(copy.iterdir()) if path.is_dir()])
        harm = damage(copy / victim, chance)
        command = chance.choice(commands)
        entry = {"damage": harm, "command": command.__name__}
        try:
            done = command(copy, victim)
            check(done, (0, 1, 2) if command.__name__ == "study" else (0, 2))
        except (AssertionError, RecordError) as error:
            return entry | {"wrong": str(error)}
    return entry | {"code": done.code, "said": done.err.replace(place, "")[:150].strip()}


def damaged(damages: int, processes: int, seed: int, scratch: Path) -> list[dict[str, Any]]:
    """What each damage led to."""
    chance, log = random.Random(seed), list[dict[str, Any]]()
    bench = Bench(scratch)
    inside = [bench.report, bench.report, bench.resume, bench.branch, bench.evaluate]
    plan: list[tuple[list[Callable], Bench | Study]] = [([*inside, bench.complete], bench)]
    plan *= damages - processes
    if processes:
        real = Study(scratch)
        plan += [([real.study, real.report, real.evaluate], real)] * processes
    for commands, on in plan:
        log.append(one(commands, on, chance))
        print(json.dumps(log[-1], ensure_ascii=False), flush=True)
    return log


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--damages", type=int, default=200)
    parser.add_argument("--processes", type=int, default=12, help="so many of them")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        log = damaged(args.damages, args.processes, args.seed, Path(place))
    wrong = [entry for entry in log if "wrong" in entry]
    codes = Counter(f"{entry['command']} {entry['code']}" for entry in log if entry not in wrong)
    print(json.dumps({"damages": len(log), "wrong": len(wrong), **dict(sorted(codes.items()))}))
    sys.exit(bool(wrong))
