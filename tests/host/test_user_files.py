"""Files of ``--config-dir``: they win over the package's, everywhere, and the program says so."""

import sys

import pytest
import yaml

from knife_jax.cli import compose, parse, preflight
from knife_jax.cli.launch import main
from knife_jax.cli.study import jobs
from knife_jax.config.schema import ConfigError

SMAX = "# @package _global_\n# mine, with 5 environments\nenv:\n  name: smax\n  n_envs: 5\n"
FILES = {
    "env/smax.yaml": SMAX + "env_steps: 777\nlog_every: 7\nevaluation:\n  every: 7\n",
    "preset/fast.yaml": "# @package algo\n# slow\n{}\n",
    "preset/slow.yaml": "name: x\n",
    "plasticity/gentle.yaml": "# gentle\nname: gentle\nmethod: redo\nthreshold: 0.01\n",
    "plasticity/redo.yaml": "# @package plasticity\nname: redo\nmethod: redo\nthreshold: 0.5\n",
    "algo/tiny.yaml": "# tiny\nname: tiny\nmixer: qmix\nhidden: 3\n",
    "algo/qmix_snr.yaml": "name: qmix_snr\nmixer: qmix\nhidden: 9\n",
    "experiment/matrix_sequence.yaml": "# @package _global_\n# mine\ndefaults:\n"
    "  - override /algo: tiny\nexperiment:\n  name: matrix_sequence\n  methods: gentle\n",
    "launcher/joblib.yaml": "# @package _global_\n# mine\ndevices: 2\n",
    "search/qmix.yaml": "# @package _global_\n# mine\nhydra:\n  sweeper:\n    params:\n"
    "      algo.hidden: choice(3, 5)\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("my, own é (files)")
    package = compose()  # preset/fast.yaml is a copy but for one number
    numbers = {name: value for name, value in vars(package.algo).items() if name != "name"}
    FILES["preset/fast.yaml"] = "# @package algo\n# slow\n" + yaml.safe_dump(numbers | {"lr": 0.25})
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def test_the_users_files_win(folder):
    def of(*words):
        return compose(words, str(folder))

    assert (of().env.n_envs, of().env_steps, of("env=smax").env_steps) == (5, 777, 777)
    assert of("preset=fast").algo.lr == 0.25
    assert of("plasticity=redo").plasticity.threshold == 0.5
    assert of("algo=qmix_redo").plasticity.threshold == 0.5
    assert of("algo=qmix_gentle").plasticity.threshold == 0.01
    both = of("algo=tiny_gentle")
    assert (both.algo.hidden, both.algo.name) == (3, "tiny_gentle")
    assert both.plasticity.name == "gentle" and of("algo=tiny").plasticity.name == "none"
    assert of("algo=qmix_snr").algo.hidden == 9 and of("algo=qmix_snr").plasticity.name == "none"
    assert of("experiment=matrix_sequence").algo.name == "tiny"
    assert compose(["algo=qmix_snr"]).plasticity.name == "snr"  # and leave no trace
    sweep = ["-m", "--config-dir", str(folder), "seed=1,2"]
    assert preflight(parse([*sweep, "launcher=joblib"])).devices == 2
    assert preflight(parse([*sweep, "search=qmix"])).algo.hidden == 3


def test_a_study_takes_them(folder, tmp_path):
    (job,) = jobs("matrix_sequence", None, tmp_path, ["seed=4"], str(folder))
    assert (job.config.algo.name, job.config.plasticity.name) == ("tiny_gentle", "gentle")
    assert job.words[:2] == ["--config-dir", str(folder)]
    assert preflight(parse(job.words)) == job.config


def test_it_is_said_which_files_take_the_places_of_others(folder, forks, tmp_path):
    command = ["python", "-m", "knife_jax.train", "--config-dir", str(folder), "--cfg", "job"]
    done = forks.run(command, tmp_path)
    assert done.returncode == 0 and yaml.safe_load(done.stdout)["env_steps"] == 777
    assert done.stderr == (
        f"--config-dir {folder} is read first: env/smax.yaml, "
        "experiment/matrix_sequence.yaml, launcher/joblib.yaml, plasticity/redo.yaml, "
        "preset/fast.yaml, search/qmix.yaml\n"
    )


def test_help_is_about_them(folder, monkeypatch, capsys):
    words = ["--help", f"--config-dir={folder}", "algo=tiny_gentle"]
    monkeypatch.setattr(sys, "argv", ["train", *words])
    main()
    out = capsys.readouterr().out
    for line in ("smax* mine, with 5 environments", "tiny tiny", "gentle* gentle", "fast* slow"):
        assert line in [" ".join(told.split()[-len(line.split()) :]) for told in out.splitlines()]
    assert "  env.n_envs=5 " in out and "  algo.hidden=3 " in out


@pytest.mark.parametrize(
    "content", [b"name: [smax", b"\xff\xfe\x00", b"- a\n- b\n", b"7", b"defaults: 3\n", b"a: ${b\n"]
)
def test_a_file_that_cannot_be_read_is_one_line(content, tmp_path):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "smax.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        compose([], str(tmp_path))
    assert str(refused.value) and "\n" not in str(refused.value)
    assert "smax" in str(refused.value)


def test_a_folder_or_nothing_in_the_place_of_a_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "env" / "smax.yaml").mkdir(parents=True)
    (tmp_path / "env" / "mine.yaml").write_bytes(b"# \xff")
    assert compose(["env=smax"], str(tmp_path)) == compose()
    monkeypatch.setattr(sys, "argv", ["train", "--help", "--config-dir", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {tmp_path}/env/mine.yaml cannot be read: ")
