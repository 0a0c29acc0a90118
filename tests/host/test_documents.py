"""Every command that the documents show is run as it is typed, by the process that a user starts.

Training itself is left out, and so are measurements: processes are started with ``SITE`` on their
path, which keeps the configuration in the place of training, and stops benchmarks once their words
are read; those of Python are forked from one that has imported what they import. What sets fields
of a single run alone is read by the program's entry within the process of the tests. Sweeps with a
launcher are run by ``test_sweep``. One run is trained in earnest, by a process from its beginning,
and played.
"""

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
import yaml
from documents import LAUNCHED, ROOT, commands, pages, refusals

from knife_jax.cli import compose, launch
from knife_jax.envs.smacv2 import doctor

sys.path.insert(0, str(ROOT / "tests" / "starcraft"))
import fake_game

HERE = Path(__file__).parent
SITE = f"""
import sys
program = " ".join(sys.orig_argv)
if not any(of in program for of in ("experiments/bench/", "tests/host/", "knife_jax.bench")):
    import types
    def train(config):
        from pathlib import Path
        sys.path.insert(0, {str(HERE)!r})
        from fake_runs import FIRST, FRESH, rows, store
        from knife_jax.records.compare import config_hash
        from knife_jax.records.directory import write_json
        folder = Path(config.run_dir or "runs/new")
        scores = FRESH if config.plasticity.name == "fresh_per_task" else FIRST
        store(folder, rows(scores), config)
        about = {{"status": "complete", "config_hash": config_hash(config), "wall_seconds": 2.5}}
        score = {{"final_win_rate_mean": None, "final_return_mean": 1.5, "versions": {{}}}}
        write_json(folder / "summary.json", about | score)
        return 0
    sys.modules["knife_jax.host.loop"] = types.ModuleType("knife_jax.host.loop")
    sys.modules["knife_jax.host.loop"].train = train
    sys.modules["knife_jax.host.loop"].run = lambda config, leave_at_once: train(config)
else:
    import argparse
    def stopping_after(parse):
        def stop(self, *words):
            read = parse(self, *words)
            if getattr(read, "words", None):
                from knife_jax.cli import compose
                compose(read.words)
            sys.exit(0)
        return stop
    parser = argparse.ArgumentParser
    parser.parse_intermixed_args = stopping_after(parser.parse_intermixed_args)
    parser.parse_args = stopping_after(parser.parse_args)
"""

IN_EARNEST = (
    "python -m knife_jax.train +env=smax +algo=qmix_knife run_dir=runs/mine resume=auto",
    "python -m knife_jax.evaluate runs/mine --checkpoint best",
    "python -m knife_jax.evaluate RUN",
    "python -m knife_jax.watch runs/mine",
    "python -m knife_jax.report RUN",
)
"""one run: trained, played and reported on"""

STUDIED = (
    "python -m knife_jax.study matrix_sequence --methods none,fresh_per_task,redo --out runs/first "
    "num_seeds=3"
)
"""the study that further commands report on"""

SHORTER = {
    "python -m knife_jax.study matrix_sequence": "--methods redo",
    "python -m knife_jax.study predator_prey_sequence": "--methods none",
    "python -m knife_jax.study matrix_shared": "--methods none --levels env.shared=0,1",
    "python -m knife_jax.study smax_sequence": "--methods none",
    "python -m knife_jax.train -m search=qmix env.scenario=2s3z num_seeds=3":
        f"hydra.sweeper.n_trials={(TRIALS := 3)}",
}  # fmt: skip
"""further words for those that would take long"""

NOT_HERE = {
    "pip install": "installs packages",
    "pytest": "is running",
    "python -m knife_jax.envs.smacv2.doctor": "SMACv2 is on no package index",
    "sky jobs launch": "needs an account with a cloud",
    "wandb sync": "uploads",
    "python -m knife_jax.train -m launcher=slurm": "needs a cluster with Slurm",
    "python -m knife_jax.train -m launcher=ray hydra.launcher.ray.init.address=auto":
        "needs a cluster of Ray",
}  # fmt: skip
"""commands that begin so cannot be run in a test -> why; what of them can be checked is"""

PLACEHOLDERS = {"RUN": "runs/mine", "NAME": "3m"}

FOUND = commands()
SMALL = (
    "env.n_envs=8 algo.hidden=8 algo.embed=4 algo.hyper_hidden=8 algo.window=4 algo.batch_size=8 "
    "algo.buffer_size=64 algo.learning_starts=64 env_steps=1024 log_every=512 "
    "evaluation.every=1024 evaluation.episodes=8 probes.every=0 checkpoint.every=512 "
    "logger.wandb=disabled recording.episodes=0 devices=1"
)


def not_here(command):
    return next((start for start in NOT_HERE if command.startswith(start)), None)


FIELDS_ALONE = re.compile(r"python -m knife_jax\.train( [+\w][\w.+]*=\S+)+")
READ = [c for c in FOUND if FIELDS_ALONE.fullmatch(c) and "target=" not in c and "search=" not in c]
READ = [c for c in READ if c not in IN_EARNEST]
RUN = [c for c in FOUND if not not_here(c) and c not in (*IN_EARNEST, *READ, STUDIED)]
RUN = [c for c in RUN if not LAUNCHED.fullmatch(c)]


def caller(folder, forks):
    """Runs commands in a folder from which they find what they name."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE)
    (folder / "experiments").mkdir()  # whose results are written anew
    scripts = (path for path in ROOT.glob("experiments/*") if path.name != "results")
    for path in (ROOT / "tests", ROOT / "constraints.txt", *scripts):
        (folder / path.relative_to(ROOT)).symlink_to(path)
    bin_of_python = str(Path(sys.executable).parent)

    def called(command, *further, site=True, fork=True):
        words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)]
        path = [str(folder / "site")] * site + [*filter(None, sys.path)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
        environment["PATH"] = bin_of_python + os.pathsep + os.environ["PATH"]
        environment["WANDB_MODE"] = "offline"
        if "smacv2" in command:
            environment |= fake_game.install(folder / "game")
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            environment[name] = value
        if fork and words[0] == "python":
            return forks.run([*words, *further], folder, environment)
        return subprocess.run(
            [*words, *further], cwd=folder, env=environment, capture_output=True, text=True,
            timeout=600, encoding="utf-8",
        )  # fmt: skip

    return called


@pytest.fixture
def call(tmp_path, forks):
    return caller(tmp_path, forks)


@pytest.fixture(scope="module")
def studied(tmp_path_factory, forks):
    """The folder of a study's runs, and how the study ended."""
    folder = tmp_path_factory.mktemp("studied")
    done = caller(folder, forks)(STUDIED)
    return folder / "runs" / "first", done


def test_a_study_that_is_shown(studied):
    assert STUDIED in FOUND and (studied[1].returncode, studied[1].stderr) == (0, "")


@pytest.mark.parametrize("command", READ)
def test_fields_that_are_shown(command, tmp_path, monkeypatch, capsys):
    configs = []
    loop = types.ModuleType("knife_jax.host.loop")
    loop.train = lambda config: configs.append(config) or 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "knife_jax.host.loop", loop)
    monkeypatch.setattr(sys, "argv", command.split()[2:])
    monkeypatch.chdir(tmp_path)
    if "smacv2" in command:
        monkeypatch.setenv("SC2PATH", fake_game.install(tmp_path / "game")["SC2PATH"])
    with pytest.raises(SystemExit) as ended:
        launch.main()
    assert ended.value.code == 0 and capsys.readouterr() == ("", "")
    assert configs == [compose(command.split()[3:])]


@pytest.mark.parametrize("command", RUN)
def test_a_command_that_is_shown(command, call, tmp_path, request):
    if "knife_jax.report" in command:
        shutil.copytree(request.getfixturevalue("studied")[0], tmp_path / "runs/matrix_sequence")
    if command.endswith(" experiments/results"):  # of at least two studies
        for name in ("matrix_sequence", "another"):
            of_study = ROOT / "experiments" / "results" / "matrix_sequence"
            shutil.copytree(of_study, tmp_path / "experiments" / "results" / name)
    done = call(command, *SHORTER.get(command, "").split())
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "error: " not in done.stderr
    if "knife_jax.train" in command and "--help" not in command:
        runs = [path.parent for path in tmp_path.glob("runs/**/config.yaml")]
        lists = re.findall(r"=([\w,]+,[\w,]+)(?= |$)", command)
        trials = TRIALS if "search=" in command else 1
        assert len(runs) == math.prod(len(listed.split(",")) for listed in lists) * trials


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    anchors = {}
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists() and path.is_relative_to(ROOT), f"{page} links to {target}"
        if anchor and path not in anchors:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
            anchors[path] = {re.sub(r"[^\w -]", "", h).replace(" ", "-").lower() for h in headings}
        assert not anchor or anchor in anchors[path], f"{page} links to {target}"


def test_every_page_is_found_from_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 160
    linked = {(ROOT / name).resolve() for name in re.findall(r"\]\(([^)#\s]+)", text)}
    assert {*pages()} - linked == {ROOT / "README.md"}


@pytest.mark.parametrize("command", refusals())
def test_a_refusal_that_is_shown(command, call):
    done = call(command)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", refusals()[command] + "\n")


def test_one_run_in_earnest(call, tmp_path):
    assert {*IN_EARNEST} <= {*FOUND}
    first, *played = IN_EARNEST
    done = call(first, *SMALL.split(), site=False, fork=False)
    assert done.returncode == 0, done.stderr
    mine = tmp_path / "runs" / "mine"
    summary = json.loads((mine / "summary.json").read_text())
    for command in played:
        done = call(command, site=False)
        assert done.returncode == 0, done.stderr
        if "evaluate" in command:
            kind = "absolute" if "best" in command else "final"
            assert f"checkpoint {summary['env_steps']:,} of runs/mine" in done.stdout
            assert re.search(rf"\| +0 +\| +{summary[f'{kind}_return'][0]:.3g}", done.stdout)
        elif "report" in command:
            assert "report.html: 1 run, " in done.stdout
        else:
            assert "have the mean return of the record" in done.stdout
            assert (mine / "recording.html").stat().st_size > 30_000


@pytest.mark.parametrize("start", NOT_HERE)
def test_what_can_be_checked_of_a_command_that_cannot_be_run(start, call):
    shown = [command for command in FOUND if not_here(command) == start]
    assert shown, f"no document shows {start}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for command in shown:
        words = shlex.split(command)
        if start == "pip install":
            rest = words[4:] if words[2:4] == ["-c", "constraints.txt"] else words[2:]
            if "-e" in rest:
                assert rest[:-2] in ([], ["--no-deps"]) and rest[-2] == "-e"
                extra = rest[-1].strip(".[]")
                assert not extra or extra in project["optional-dependencies"]
            elif rest[0] == "--no-deps":
                (name,) = rest[1:]
                assert name == f"pysc2=={doctor.PYSC2}" or name.startswith("smacv2 @ git+https://")
            else:
                assert {*rest} <= {re.split("[<>=]", name)[0] for name in project["dependencies"]}
        elif start == "sky jobs launch":
            task = yaml.safe_load((ROOT / words[3]).read_text())
            given = [word.partition("=")[0] for word in words[4:] if word != "--env"]
            assert {*given} == {*task["envs"]}
            values = [word.partition("=")[2] for word in words[4:] if word != "--env"]
            line = task["run"].replace("$WORDS", values[given.index("WORDS")])
            assert call(line.strip().replace("/runs/$RUN", "runs/x")).returncode == 0
        elif "knife_jax." in start or start == "wandb sync":
            assert call(command, "--help").returncode == 0
