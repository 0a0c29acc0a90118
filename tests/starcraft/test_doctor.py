"""What the doctor says of an installation, whole or with one defect planted."""

import os
import sys
from pathlib import Path

import fake_game
import pytest

from knife_jax.envs.smacv2 import doctor

ROOT = Path(__file__).parents[2]
GOOD = {
    "numpy": "", "portpicker": "", "websocket": "", "absl": "", "pysc2": "", "smacv2": "",
    "s2clientprotocol/sc2api_pb2": "", "google/protobuf/internal/api_implementation":
        "def Type(): return 'upb'\n",
}  # fmt: skip
"""module -> its text"""
VERSIONS = {"pysc2": "4.0.0", "pys2clientprotocol": "1.0.2"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with the toy game in it, where the doctor looks for the game."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name, value in fake_game.install(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(doctor, "_battle", lambda python: doctor.Finding(True, "played"))
    return folder


def interpreter(folder, modules, versions, owner="pys2clientprotocol"):
    """An interpreter that finds these modules and nothing else."""
    site = folder / "site"
    for module, text in modules.items():
        path = site / f"{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, version in versions.items():
        about = site / f"{name}-{version}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        tops = {owner: "s2clientprotocol", "smac": "smac"}
        (about / "top_level.txt").write_text(tops.get(name, name))
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.base_prefix}/bin/python3 -S "$@"\n')
    program.chmod(0o755)
    return str(program)


def wrong(python):
    return [finding.text for finding in doctor.findings(python) if not finding.good]


def test_nothing_is_wrong_with_a_whole_installation(home, tmp_path):
    found = [*doctor.findings(interpreter(tmp_path, GOOD, VERSIONS))]
    assert all(finding.good for finding in found) and found[-1].text == "played"
    assert doctor.missing() is None


SPOILT = {
    "no websocket-client": ({"websocket": None}, {}, "websocket-client: install it"),
    "no portpicker": ({"portpicker": None}, {}, "portpicker: install it"),
    "no protocol": ({"s2clientprotocol/sc2api_pb2": None}, {}, "pys2clientprotocol: install it"),
    "an old protocol": (
        {"s2clientprotocol/sc2api_pb2": "raise TypeError('Descriptors cannot be created')"},
        {}, "Descriptors cannot be created",
    ),
    "two owners": ({}, {"s2clientprotocol": "5.0"}, "s2clientprotocol: uninstall it"),
    "a slow parser": (
        {"google/protobuf/internal/api_implementation": "def Type(): return 'python'\n"}, {},
        "protobuf's parser python takes 0.8 ms",
    ),
    "no pysc2": ({"pysc2": None}, {"pysc2": None}, "pysc2: there is none"),
    "another pysc2": ({}, {"pysc2": "3.0.0"}, "pysc2: there is 3.0.0"),
    "smac": ({"smac": ""}, {"smac": "1.0"}, "smac: uninstall it"),
    "no smacv2": ({"smacv2": None}, {}, "smacv2 cannot be imported"),
}  # fmt: skip


@pytest.mark.parametrize("defect", SPOILT)
def test_a_defect_of_the_packages_is_named(defect, home, tmp_path):
    modules, versions, said = SPOILT[defect]
    kept = {name: text for name, text in {**GOOD, **modules}.items() if text is not None}
    named = {name: version for name, version in {**VERSIONS, **versions}.items() if version}
    owner = "s2clientprotocol" if "s2clientprotocol" in named else "pys2clientprotocol"
    texts = wrong(interpreter(tmp_path, kept, named, owner))
    assert len(texts) == 1 and said in texts[0], texts


def no_folder(home):
    os.environ["SC2PATH"] = f"{home}/nowhere"


def another_version(home):
    (home / "Versions/Base75689").rename(home / "Versions/Base55958")


def no_program(home):
    (home / "Versions/Base75689/SC2_x64").unlink()


def not_executable(home):
    (home / "Versions/Base75689/SC2_x64").chmod(0o644)


def no_map(home):
    (home / "Maps/SMAC_Maps/32x32_flat.SC2Map").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(no_folder, "is no folder"), (another_version, "no Base75689 (there is Base55958)"),
     (no_program, "SC2_x64 is missing"), (not_executable, "chmod +x"),
     (no_map, "32x32_flat.SC2Map is missing")],
)  # fmt: skip
def test_a_defect_of_the_game_is_named(spoil, said, home, tmp_path, monkeypatch):
    monkeypatch.setenv("SC2PATH", str(home))
    spoil(home)
    texts = wrong(interpreter(tmp_path, GOOD, VERSIONS))
    assert said in texts[0] and (len(texts) == 1 or spoil is no_folder), texts
    assert (doctor.missing() is None) == (spoil in (another_version, no_map))


def test_an_interpreter_that_does_not_run(home, tmp_path):
    texts = wrong(str(tmp_path / "none"))
    assert len(texts) == 1 and "does not run" in texts[0]


def test_a_game_that_does_not_play_is_named(tmp_path, monkeypatch):
    for name, value in fake_game.install(tmp_path).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "Versions/Base75689/SC2_x64").write_text("#!/bin/sh\nexit 3\n")
    monkeypatch.setenv("PYTHONPATH", "")
    finding = doctor._battle(sys.executable)
    assert not finding.good and finding.text.startswith("a game does not play a step: ")


@pytest.mark.parametrize("env", ["smacv2", "seq_smacv2"])
def test_training_without_a_game_is_refused_in_one_line(env, forks, tmp_path):
    words = ["python", "-m", "knife_jax.train", f"+env={env}", "+algo=qmix_knife"]
    done = forks.run(words, tmp_path, os.environ | {"SC2PATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: env={env} is refused: SC2PATH={tmp_path} holds no StarCraft II "
        "(Versions/Base75689/SC2_x64): python -m knife_jax.envs.smacv2.doctor says what to do\n"
    )
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "devices=3 num_seeds=2",
            "devices=3 is refused: must be at most 2 for env=smacv2",
        ),
        (
            "num_seeds=16 env.n_envs=8",
            "these are 132 games at once, must be at most games.limit=128",
        ),
        ("distributed=true run_dir=x", "distributed=true is refused: must be false for env=smacv2"),
        ("games.watchdog=0", "games.watchdog=0"),
        ("env.scenario=10gen_zerg", "env.scenario=10gen_zerg is refused: must be one of"),
    ],
)
def test_what_games_cannot_do_is_refused(words, said):
    from knife_jax.cli.compose import compose
    from knife_jax.config.schema import ConfigError

    with pytest.raises(ConfigError) as error:
        compose(["env=smacv2", *words.split()])
    assert said in str(error.value) and "\n" not in str(error.value)


def test_games_have_the_tasks_of_all_seeds():
    from knife_jax.cli.compose import compose
    from knife_jax.config.schema import ConfigError

    said = "env.drawing=per_seed is refused: must be shared for env=seq_smacv2"
    with pytest.raises(ConfigError, match=said):
        compose(["env=seq_smacv2", "env.drawing=per_seed"])


def test_the_default_preset_is_the_published_one():
    from knife_jax.cli.compose import compose

    config = compose(["env=smacv2"])
    assert (config.algo.preset, config.env.n_envs, config.algo.data) == ("pymarl2", 8, "episodes")
    assert compose(["env=seq_smacv2"]).algo.preset == "continual"
    assert compose(["env=smacv2", "preset=fast"]).algo.preset == "fast"
