"""The run directory and where results come from."""

import json
import re
from dataclasses import replace
from pathlib import Path

import fake_program
import numpy as np
import pytest
from omegaconf import OmegaConf
from safetensors.numpy import load_file

from knife_jax.config.plain import from_dict
from knife_jax.config.run import LoggerConfig
from knife_jax.records import directory, params
from knife_jax.records.compare import config_hash
from knife_jax.records.versions import versions as versions_here


def test_a_run_without_a_folder_gets_its_own_under_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = fake_program.config()
    first, second = directory.directory_of(config), directory.directory_of(config)
    assert first != second and first.parent == Path("runs")
    assert re.fullmatch(r"\d{8}-\d{6}-smax-qmix_knife-s5-[0-9a-f]{4}", first.name)


def test_the_stored_configuration_gives_the_same_configuration(tmp_path):
    config = fake_program.config(run_dir=str(tmp_path))
    directory.begin(tmp_path, config)
    stored = OmegaConf.to_container(OmegaConf.load(tmp_path / "config.yaml"))
    assert from_dict(stored) == config


def test_the_folder_that_was_chosen_is_in_the_stored_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = directory.directory_of(config := fake_program.config())
    directory.begin(path, config)
    assert OmegaConf.load(path / "config.yaml").run_dir == str(path)


@pytest.mark.parametrize("name", directory.FILES)
def test_a_folder_with_any_file_of_a_run_is_refused(tmp_path, name):
    (tmp_path / name).write_text("computed")
    with pytest.raises(
        directory.RunDirectoryError, match=f"holds a run already \\({name}\\)"
    ) as error:
        directory.check_free(tmp_path, fake_program.config(run_dir=str(tmp_path)))
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "computed"


def test_a_folder_with_other_files_is_used(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    config = fake_program.config(run_dir=str(tmp_path))
    directory.check_free(tmp_path, config)
    directory.begin(tmp_path, config)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "run"
    with pytest.raises(directory.RunDirectoryError) as error:
        directory.begin(inside, fake_program.config(run_dir=str(inside)))
    assert str(error.value) == f"run_dir={inside} cannot be written: Not a directory"


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    directory.write_json(path, {"status": "running"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        directory.write_json(path, {"status": float("nan")})
    assert json.loads(path.read_text()) == {"status": "running"}
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_parameters_keep_values_types_and_memory_order(tmp_path):
    kernel = np.arange(30, dtype=np.float32).reshape(2, 3, 5).transpose(0, 2, 1)
    used = np.array([[1, 2], [3, 4]], np.int32)
    variables = {"params": {"agent": {"kernel": kernel}}, "grafts": {"agent": {"used": used}}}
    params.write_params(tmp_path / "p", variables, {})
    loaded = load_file(tmp_path / "p")
    np.testing.assert_array_equal(loaded["params/agent/kernel"], kernel)
    np.testing.assert_array_equal(loaded["grafts/agent/used"], used)


def test_the_config_hash_is_of_what_decides_the_results():
    config = fake_program.config()
    same = replace(config, run_dir="elsewhere", logger=LoggerConfig(wandb="online"))
    assert config_hash(same) == config_hash(config)
    assert config_hash(replace(config, seed=11)) != config_hash(config)
    assert re.fullmatch("[0-9a-f]{64}", config_hash(config))


def test_versions_name_what_computed_the_results():
    versions = versions_here()
    assert versions["numpy"] == np.__version__ and versions["device_kind"]
    expected = {"python", "knife_jax", "jax", "jaxlib", "flax", "optax", "jaxmarl", "numpy"}
    assert expected <= versions.keys()
    assert versions["git_commit"] is None or re.match("[0-9a-f]{40}", versions["git_commit"])
