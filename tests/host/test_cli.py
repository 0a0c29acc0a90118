"""The command line: what it accepts, what it refuses and how, before jax is imported."""

import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from knife_jax import __version__
from knife_jax.cli import compose, options
from knife_jax.cli.launch import main
from knife_jax.config.plain import to_dict
from knife_jax.config.run import GROUPS
from knife_jax.config.schema import ConfigError

ENV = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

WITHOUT_JAX = """
import runpy, sys
sys.modules["jax"] = None  # importing it raises
runpy.run_module("knife_jax.train", run_name="__main__")
"""

WITH_OTHER_LOOP = """
import json, pathlib, runpy, sys, types
loop = types.ModuleType("knife_jax.host.loop")
def train(config):
    print("trained", config.seed, config.env.name, config.algo.name, config.run_dir)
    if config.run_dir:
        folder = pathlib.Path(config.run_dir)
        folder.mkdir(parents=True)
        score = {{"final_win_rate_mean": None, "final_return_mean": 1.5}}
        (folder / "summary.json").write_text(json.dumps(score))
    return {code}
loop.train = train
sys.modules["jax"] = None
sys.modules["knife_jax.host.loop"] = loop
runpy.run_module("knife_jax.train", run_name="__main__")
"""


@pytest.fixture
def call(forks, tmp_path):
    """Runs a script in an empty folder, in a process that has imported jax unless it is ``new``."""

    def called(script, *words, new=False):
        if not new:
            return forks.run(["python", "-c", script, *words], tmp_path, ENV)
        return subprocess.run(
            [sys.executable, "-c", script, *words], cwd=tmp_path, env=ENV, capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip

    return called


def trained(result):
    return [line.split()[1:] for line in result.stdout.splitlines() if line.startswith("trained")]


@pytest.fixture
def line(tmp_path, monkeypatch, capsys):
    """Runs words that must be refused, and returns the one line that says why."""

    def refused(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["train", *words])
        monkeypatch.setitem(sys.modules, "jax", None)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        out, err = capsys.readouterr()
        (message,) = err.splitlines()
        assert out == "" and list(tmp_path.iterdir()) == []
        return message

    return refused


def test_help_needs_no_jax_and_lists_every_group_option_and_field(call, tmp_path):
    result = call(WITHOUT_JAX, "--help", new=True)
    assert (result.returncode, result.stderr) == (0, "")
    for group in GROUPS:
        assert re.search(rf"^  {group} ", result.stdout, re.MULTILINE)
        assert all(f" {file.stem}" in result.stdout for file in options(group))
    labels = {"env.name", "experiment.name", "algo.name", "algo.preset", "logger.name"}
    labels |= {"plasticity.name", "plasticity.method", "algo.mixer", "experiment.protocol"}
    for name, value in to_dict(compose()).items():
        keys = [f"{name}.{key}" for key in value] if isinstance(value, dict) else [name]
        for key in set(keys) - labels:
            assert re.search(rf"^  {re.escape(key)}=\S+ +\w+", result.stdout, re.MULTILINE), key
    assert f"  algo.gamma={compose().algo.gamma} " in result.stdout
    assert "python -m knife_jax.train +env=smax +algo=qmix_knife" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_describes_the_groups_that_are_chosen(call):
    message = call(WITHOUT_JAX, "-h", "env=mpe_predator_prey", "preset=pymarl").stdout
    assert "  env.n_predators=3 " in message and "env.scenario=" in message.partition("groups")[0]
    assert "env.scenario=" not in message.partition("fields")[2]
    assert " pymarl* " in message and " mpe_predator_prey* " in message and " fast " in message


def test_version(call):
    assert call(WITHOUT_JAX, "--version").stdout == f"knife_jax {__version__}\n"


ENVS = ", ".join(file.stem for file in options("env"))
ALGOS = (
    "must be one of dmix, iql, qmix, qplex, resq, rmix, vdn, wqmix, alone or with a method "
    "(qmix_knife); plasticity=... has the methods"
)
SCENARIOS = "must be one of 3m, 2s3z, 25m, 3s5z, 8m, 5m_vs_6m, "


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("algo.lrr=1", "error: unknown key 'algo.lrr'; did you mean 'algo.lr'?"),
        ("+algo.lrr=1", "error: unknown key 'algo.lrr'; did you mean 'algo.lr'?"),
        ("++alog.lr=1", "error: unknown key 'alog.lr'; did you mean 'algo.lr'?"),
        ("gamma=0.9", "error: unknown key 'gamma'; did you mean 'algo.gamma'?"),
        ("envs=smax", "error: unknown key 'envs'; did you mean 'env'?"),
        ("env=mpe_predator_prey env.scenario=3m",
         "error: unknown key 'env.scenario'; env has name, n_envs, n_predators"),
        ("algo.lr=fast", "error: algo.lr=fast is refused: must be a number, above 0"),
        ("algo.agent_id=yes", "error: algo.agent_id=yes is refused: must be true or false"),
        ("+algo.gamma=1.5",
         "error: algo.gamma=1.5 is refused: must be a number, at least 0, at most 1"),
        ("seed=-1",
         "error: seed=-1 is refused: must be a whole number, at least 0, at most 2147483647"),
        ("evaluation=3", "error: evaluation=3 is refused: set evaluation.every, "
         "evaluation.episodes"),
        ("preset=pymarl algo.batch_size=9000",
         "error: algo.buffer_size=5000 is refused: must be at least algo.batch_size=9000"),
        ("env.scenario=", "error: env.scenario='' is refused: " + SCENARIOS),
        ("env.scenario=3n",
         "error: env.scenario=3n is refused (did you mean '3m'?): " + SCENARIOS),
        ("env.scenario", "error: cannot read 'env.scenario': write field=value or group=option"),
        ("+env=smax env=mpe_predator_prey",
         "error: env is given 2 times: +env=smax env=mpe_predator_prey; give it once"),
        ("+algo=qmix_knif",
         "error: algo=qmix_knif is refused (did you mean 'qmix_knife'?): " + ALGOS),
        ("algo=pqn", "error: algo=pqn is refused (did you mean 'preset=pqn'?): " + ALGOS),
        ("plasticity=qmix",
         "error: plasticity=qmix is refused (did you mean 'algo=qmix'?): must be one of cbp, "),
        ("algo=zebra", "error: algo=zebra is refused: " + ALGOS),
        ("plasticity=redo plasticity.slots=2", "error: unknown key 'plasticity.slots'; "),
        ("env=../algo/qmix",
         "error: env=../algo/qmix is refused: must be one of " + ENVS),
        ("experiment=matrix_sequenc", "error: experiment=matrix_sequenc is refused (did you mean "
         "'matrix_sequence'?): must be one of matrix_sequence, matrix_shared, "
         "predator_prey_sequence, smax_sequence"),
        ("experiment=null", "error: experiment=null is refused: must be one of matrix_sequence, "),
        ("env=null", "error: env=null is refused: must be one of " + ENVS),
        ("plasticity@algo=knife",
         "error: 'plasticity@algo=knife' is refused: write plasticity=... without '@'"),
        ("~algo.lr", "error: '~algo.lr' is refused: a field can be set but not deleted"),
        ("run_dir=a/../../b", "error: run_dir=a/../../b is refused: must be a path without '..'"),
        ("seed=0,1", "error: seed=0,1 is a sweep: add -m, or quote the value"),
        ("-m seed=0,one", "error: seed=one is refused: must be a whole number, "),
        ("-m seed=range(0,99) algo.gamma=0.9,9", "error: algo.gamma=9.0 is refused: "),
        ("-m algo.lr=interval(0,1)",
         "error: algo.lr=interval(0,1) is refused: intervals need search=..."),
        ("launcher=slurm", "error: launcher=slurm is for sweeps: add -m"),
        ("hydra.run.dir=a", "error: hydra.run.dir=a is for sweeps: add -m"),
        ("-m hydra.sweep.dir=a", "error: hydra.sweep.dir is refused: write run_dir=..."),
        ("-m hydra.sweeper.max_batch_size=1,2",
         "error: hydra.sweeper.max_batch_size cannot be swept: "),
        ("seed=1 seed=2", "error: seed is given 2 times: seed=1 seed=2; give it once"),
        ("+seed=1 ++seed=1", "error: seed is given 2 times: +seed=1 ++seed=1; give it once"),
        ("-m seed=0,1 +seed=3", "error: seed is given 2 times: seed=0,1 +seed=3; give it once"),
        ("run_dir=a,b run_dir=c", "error: run_dir is given 2 times: run_dir=a,b run_dir=c; "
         "give it once"),
        ("evaluation={every:5} evaluation.every=6",
         "error: evaluation={every:5} is refused: write evaluation.every=..."),
        ("--config-dir=. -cd .", "error: --config-dir is given 2 times; give it once"),
        ("-m --multirun", "error: --multirun is given 2 times; give it once"),
        ("-m --cfg job", "error: --cfg and --multirun exclude each other; give one of them"),
        ("--help --version", "error: --help and --version exclude each other; give one of them"),
        ("--resolve", "error: --resolve is for --cfg job, which is always resolved"),
        ("--cfg jobs", "error: --cfg jobs is refused: must be one of job, hydra, all"),
        ("--cfg", "error: option --cfg needs a value"),
        ("-m=1", "error: option -m takes no value"),
        ("-m seed=range(0,1000000)",
         "error: seed=range(0,1000000): 1,000,000 jobs are refused: must be at most 1,000"),
        ("-m seed=range(0,40) algo.lr=range(0.1,0.6,0.01)",
         "error: seed=range(0,40) algo.lr=range(0.1,0.6,0.01): 2,000 jobs are refused: "),
        ("-m seed=shuffle(range(0,1000000))",
         "error: seed=shuffle(range(0,1000000)): 1,000,000 jobs are refused: "),
        ("-m seed=range(0,1e300)", "error: seed=range(0,1e300): over 10^30 jobs are refused: "),
        ("-m search=qmix seed=shuffle(range(0,2000))",
         "error: seed=shuffle(range(0,2000)): 2,000 values are refused: "),
        ("-m search=qmix seed=range(0,99999999999)", "error: seed=99999999999 is refused: "),
        ("-m algo.lr=range(0,1,0)", "error: algo.lr=range(0,1,0) lists no values: "),
        ("seed=" + 5000 * "1", "error: seed='" + 200 * "1" + "'... (5,000 characters) is refused: "
         "cannot be read as a value; "),
        ("seed=" + 4000 * "1", "error: seed=(a number of over 200 digits) is refused: must be "
         "a whole number, at least 0, at most 2147483647"),
        ("algo.lr=" + 4000 * "1", "error: algo.lr=(a number of over 200 digits) is refused: "),
        ("algo.lr=1e9999", "error: algo.lr=inf is refused: must be a number, above 0"),
        ("plasticity.maturity=0",
         "error: plasticity.maturity=0 is refused: must be a whole number, at least 1, "
         "at most 2147483647 or null"),
        ("env.name=foo", "error: env.name=foo is refused: choose by env=..., one of " + ENVS),
        ("+env.name=mpe_predator_prey", "error: env.name=mpe_predator_prey is refused: choose by "
         "env=..., one of " + ENVS),
        ("plasticity.method=redo",
         "error: plasticity.method=redo is refused: choose by plasticity=..., one of cbp, "),
        ("algo.preset=pymarl", "error: algo.preset=pymarl is refused: choose by preset=..., "),
        ("logger.name=wandb", "error: logger.name=wandb is refused: choose by logger=..., "),
        ("=5", "error: cannot read '=5': write field=value or group=option"),
        ("+=5", "error: cannot read '+=5': write field=value or group=option"),
        (".=1", "error: cannot read '.=1': write field=value or group=option"),
        ("a[0]=1", "error: cannot read 'a[0]=1': write field=value or group=option"),
        ("a..b=1", "error: cannot read 'a..b=1': write field=value or group=option"),
        ("+++seed=1", "error: cannot read '+++seed=1': write field=value or group=option"),
        ("a.b.c.d=1", "error: unknown key 'a.b.c.d'"),
        ("seed.x=1", "error: unknown key 'seed.x'; did you mean 'seed'?"),
        ("a==b", "error: a==b is refused: cannot be read as a value; write 'a=\"...\"' for text"),
        ("~x", "error: '~x' is refused: a field can be set but not deleted"),
        ("run_dir=", "error: run_dir='' is refused: must be a path or null"),
        ("resume=???", "error: resume=??? is refused: must be a path or null"),
        ("-m launcher=rocket",
         "error: launcher=rocket is refused: must be one of joblib, ray, slurm, submitit"),
        ("-m launcher=joblib,ray", "error: launcher cannot be swept: "),
        ("-m search=qmix algo.gamma=interval(0,3)", "error: algo.gamma=3.0 is refused: "),
        ("--resume", "error: unknown option '--resume'; write resume=..."),
        ("--mutlirun seed=1", "error: unknown option '--mutlirun'; did you mean '--multirun'?"),
        ("--config-dir=none", "error: --config-dir none: there is no such folder"),
        ("-m hydra/launcher=rocket",
         "error: hydra/launcher=rocket is refused: must be one of basic, "),
    ],
)  # fmt: skip
def test_refuses_with_one_line_and_exit_code_2(line, words, message):
    got = line(*words.split())
    assert got == message or (message[-2:] in (", ", ": ", "; ") and got.startswith(message))


def test_refuses_without_importing_jax(call):
    result = call(WITHOUT_JAX, "+env=smax", "+algo=qmix_knife", "+algo.lrr=1", new=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: unknown key 'algo.lrr'; did you mean 'algo.lr'?\n"


def test_the_field_of_a_missing_file_is_named(line, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    (folder / "env").mkdir()
    (folder / "env" / "mine.yaml").write_text("name: smax\nscenario: 8m\nn_envs: 4\n")
    words = ["--config-dir", str(folder), "env=mine", "log_every=7", "evaluation.every=7"]
    assert line(*words) == "error: env_steps is not set: write env_steps=..."
    (folder / "env" / "mine.yaml").write_text("name: smax\nn_env: 4\n")
    assert line(*words) == "error: unknown key 'env.n_env'; did you mean 'env.n_envs'?"


@pytest.mark.parametrize("words", ["env=smax algo=qmix_knife", "++env=smax ++algo=qmix_knife", ""])
def test_spellings_that_mean_the_same(words):
    assert compose(words.split()) == compose(["+env=smax", "+algo=qmix_knife"])


def test_a_run_gets_what_was_asked_for_and_hydra_leaves_nothing_behind(call, tmp_path):
    script = WITH_OTHER_LOOP.format(code=0)
    result = call(script, "+env=smax", "+algo=qmix_knife", "+seed=7")
    assert (result.returncode, result.stderr) == (0, "")
    assert trained(result) == [["7", "smax", "qmix_knife", "None"]]
    assert list(tmp_path.iterdir()) == []


def test_the_exit_code_is_that_of_the_run(call):
    assert call(WITH_OTHER_LOOP.format(code=3)).returncode == 3


def test_a_sweep_runs_every_job_in_its_own_folder(call, tmp_path):
    words = ["seed=2,3", "-m", "+algo=qmix,qmix_knife", "env.n_envs=5", "run_dir=out/it's"]
    result = call(WITH_OTHER_LOOP.format(code=0), *words)
    assert (result.returncode, result.stderr) == (0, "")
    jobs = trained(result)
    assert [job[:3] for job in jobs] == [
        [seed, "smax", algo] for seed in ("2", "3") for algo in ("qmix", "qmix_knife")
    ]
    assert jobs[0][3] == f"{tmp_path}/out/it's/0_seed=2,algo=qmix"
    assert max(Counter(job[3] for job in jobs).values()) == 1
    written = Counter(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert written == {"multirun.yaml": 1, "summary.json": 4}


def test_a_sweep_without_run_dir_gets_a_new_folder_in_runs(call, tmp_path):
    result = call(WITH_OTHER_LOOP.format(code=0), "--multirun", "seed=range(4,6)")
    (folder,) = (tmp_path / "runs").iterdir()
    assert [job[3] for job in trained(result)] == [
        f"{folder}/0_seed=4", f"{folder}/1_seed=5",
    ]  # fmt: skip


def test_an_interrupted_job_ends_the_sweep(call):
    result = call(WITH_OTHER_LOOP.format(code=130), "-m", "seed=0,1")
    assert result.returncode == 130
    assert len(trained(result)) == 1


def test_the_composed_configuration_can_be_printed(call):
    result = call(WITHOUT_JAX, "--cfg", "job", "env.n_envs=17")
    assert result.returncode == 0
    assert "\n  n_envs: 17\n" in result.stdout and "\n  method: knife\n" in result.stdout


@pytest.mark.parametrize(
    ("environment", "words", "expected"),
    [
        ({"WANDB_MODE": "disabled"}, [], "disabled"),
        ({"WANDB_MODE": "dryrun"}, ["logger=wandb"], "offline"),
        ({"WANDB_MODE": "run"}, [], "online"),
        ({"WANDB_DISABLED": "true", "WANDB_MODE": "online"}, [], "disabled"),
        ({"WANDB_MODE": ""}, [], "offline"),
        ({"WANDB_MODE": "disabled"}, ["++logger.wandb=online"], "online"),
    ],
)
def test_wandb_takes_its_mode_from_the_environment(monkeypatch, environment, words, expected):
    for name in ("WANDB_MODE", "WANDB_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert compose(words).logger.wandb == expected


def test_wandb_takes_project_and_entity_from_the_environment(monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "it's ${mine}")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    taken = compose([]).logger
    assert (taken.project, taken.entity) == ("it's ${mine}", "team")
    assert compose(["logger.project=other"]).logger.project == "other"


def test_an_unknown_mode_of_wandb_is_refused(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offlin")
    known = "must be one of online, run, offline, dryrun, disabled"
    with pytest.raises(ConfigError, match=f"WANDB_MODE='?offlin'? is refused: {known}"):
        compose([])
