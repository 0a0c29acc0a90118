"""Every field of every group, set as ``--help`` shows it, on the command line."""

import itertools
import json
import os
import re
import sys

import pytest
import yaml

from knife_jax.cli import compose, launch, options
from knife_jax.cli.help import help_text
from knife_jax.config.plain import to_dict
from knife_jax.config.schema import fields_of

NAMES = {
    group: [file.stem for file in options(group)]
    for group in ("plasticity", "env", "algo", "preset", "logger")
}
CHOICES = [
    dict(zip(NAMES, names, strict=True))
    for names, _ in zip(
        zip(*map(itertools.cycle, NAMES.values()), strict=False),
        max(NAMES.values(), key=len),
        strict=False,
    )
]
CHOICES += [{"experiment": file.stem} for file in options("experiment")]
"""each option of every group at least once"""

SPELLINGS = ("", "+", "++")
ODD = "a b/c,d=1#()'~é{[$:${x}\\"
"""a path that Hydra and OmegaConf would make something else of"""

OTHERS = {
    "games.python": "/its/bin/python",
    "run_dir": ODD, "resume": f"../{ODD}", "algo.optimiser": "adamw", "env.scenario": None,
    "env.target": "its.module:make", "env.args": 5, "env.size": 7,
    "experiment.methods": "redo", "experiment.levels": "seed", "logger.project": "mine-1",
    "logger.entity": "me",
}  # fmt: skip
"""values of fields in which no rule for the others finds one"""

LOOP = """
import sys, types
def train(config):
    from pathlib import Path
    import json
    from knife_jax.config.plain import to_yaml
    folder = Path(config.run_dir)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    score = {"final_win_rate_mean": None, "final_return_mean": 1.5}
    (folder / "summary.json").write_text(json.dumps(score))
    return 0
sys.modules["knife_jax.host.loop"] = types.ModuleType("knife_jax.host.loop")
sys.modules["knife_jax.host.loop"].train = train
"""
"""training that only keeps its configuration, in processes with it on their path"""


def flat(values, prefix=""):
    out = {}
    for name, value in values.items():
        inner = isinstance(value, dict)
        out |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return out


def field_of(config, name):
    section, _, leaf = name.rpartition(".")
    return fields_of(type(getattr(config, section) if section else config))[leaf]


def other(name, value, field):
    """Another value that the field allows."""
    if OTHERS.get(name):
        return OTHERS[name]
    listed = [option for allowed in field.allowed for option in allowed.options]
    if listed:
        now = listed.index(str(value)) if str(value) in listed else -1  # null, say
        after = listed[(now + 1) % len(listed)]
        return field.type(after)
    if field.type is bool:
        return not value
    if field.type is int:
        return (value or 1) + 1
    return value / 2 if value else 0.25


def shown_fields(config):
    """The names of the fields that ``--help`` lists."""
    told = help_text(config, {}).partition("fields (")[2]
    return re.findall(r"^  ([a-z_.]+)=", told, re.MULTILINE)


def changed(words):
    """Every field that is shown for these words -> another value."""
    config = compose([*words, "games.limit=700"])  # more than as any preset has environments
    now = flat(to_dict(config))
    names = shown_fields(config)
    assert len(names) == len({*names}) > 50
    if config.env.name.endswith("smacv2"):  # what it refuses has a test of its own
        names = [name for name in names if name not in ("distributed", "env.drawing")]
    out = {name: other(name, now.get(name), field_of(config, name)) for name in names}
    if "env.args" in out:
        out["env.args.size"] = out.pop("env.args")
    if config.algo.mixer == "iql":  # which has nothing to mask in
        del out["algo.mask_dead"]
    if out.get("env.payoffs") == "permuted":  # which have nothing in common
        del out["env.shared"]
    if out["algo.data"] == "rollouts":
        out["algo.batch_size"] = out["env.n_envs"]  # of which it must be a divisor
    return out


def typed(values):
    spellings = itertools.cycle(SPELLINGS)
    return [
        f"{next(spellings)}{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in values.items()
    ]


@pytest.fixture
def run(forks):
    def called(*words, cwd, site=None):
        path = os.pathsep.join(filter(None, [site and str(site), *sys.path]))
        env = os.environ | {"PYTHONPATH": path}
        return forks.run(["python", "-m", "knife_jax.train", *words], cwd, env)

    return called


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: next(iter(choice.values())))
def test_every_field_can_be_set_in_a_single_run(choice, monkeypatch, capsys):
    words = [f"{group}={name}" for group, name in choice.items()]
    values = changed(words)
    if choice is not CHOICES[0]:  # what no group chooses is set there
        kept = (*NAMES, "experiment", "games")  # a limit of games bounds the environments
        values = {name: value for name, value in values.items() if name.partition(".")[0] in kept}
    monkeypatch.setattr(sys, "argv", ["train", *words, *typed(values), "--cfg", "job"])
    launch.main()
    out, err = capsys.readouterr()
    got = flat(yaml.safe_load(out))
    assert err == "" and {name: got[name] for name in values} == values


@pytest.fixture
def site(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(LOOP)
    return tmp_path / "site"


def test_every_field_can_be_set_in_a_sweep(run, tmp_path, site):
    words = ["env=seq_matrix", "algo=qmix_knife"]
    values = changed(words)
    del values["env.order"], values["seed"]
    swept = ["+env.order=fixed,shuffled", "++seed=3,4"]
    result = run("-m", *words, *typed(values), *swept, cwd=tmp_path, site=site)
    assert (result.returncode, result.stderr) == (0, "")
    jobs = sorted((tmp_path / ODD).glob("*/config.yaml"))
    assert [job.parent.name for job in jobs] == [
        "0_env.order=fixed,seed=3", "1_env.order=fixed,seed=4",
        "2_env.order=shuffled,seed=3", "3_env.order=shuffled,seed=4",
    ]  # fmt: skip
    del values["run_dir"]
    for job in jobs:
        got = flat(yaml.safe_load(job.read_text(encoding="utf-8")))
        assert {name: got[name] for name in values} == values
        assert got["run_dir"] == str(job.parent)
    orders = [yaml.safe_load(job.read_text())["env"]["order"] for job in jobs]
    assert orders == ["fixed", "fixed", "shuffled", "shuffled"]


def test_a_search_can_choose_fields_that_no_file_spells(run, tmp_path, site):
    folder = tmp_path / "my, own é files"
    (folder / "search").mkdir(parents=True)
    (folder / "env").mkdir()
    (folder / "env" / "mine.yaml").write_text(
        "# @package _global_\nenv:\n  name: seq_matrix\n  n_tasks: 3\n  steps_per_task: 64\n"
        "  n_envs: 4\nenv_steps: 640\nlog_every: 64\nevaluation:\n  every: 64\n"
    )
    (folder / "search" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /hydra/sweeper: optuna\nhydra:\n  sweeper:\n"
        "    direction: maximize\n    n_trials: 2\n    n_jobs: 1\n    params:\n"
        "      env.order: choice(shuffled)\n      ++env.task_seed: range(7, 9)\n"
        "      algo.lr: interval(0.1, 0.2)\n"
    )
    words = ["--config-dir", str(folder), "search=mine", "env=mine", "algo.lr=0.5", "run_dir=out"]
    result = run("-m", *words, cwd=tmp_path, site=site)
    assert result.returncode == 0, result.stderr
    jobs = [yaml.safe_load(job.read_text()) for job in (tmp_path / "out").glob("*/config.yaml")]
    assert [job["env"]["order"] for job in jobs] == ["shuffled"] * 2
    assert {job["env"]["task_seed"] for job in jobs} <= {7, 8, 9}
    assert {job["algo"]["lr"] for job in jobs} == {0.5}  # the command line wins
    best = yaml.safe_load((tmp_path / "out" / "optimization_results.yaml").read_text())
    assert {*best["best_params"]} >= {"env.order"}
    assert json.dumps(best["best_params"]).count("env.order") == 1
