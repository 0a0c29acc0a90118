"""Compiled programs are kept in the user's cache folder, unless somebody says otherwise."""

import fake_program
import jax
import pytest

from knife_jax.host.loop import train


@pytest.fixture(autouse=True)
def restored():
    names = ("jax_compilation_cache_dir", "jax_compilation_cache_max_size")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def kept(monkeypatch, tmp_path, cache, **changes):
    """Where a run lets jax keep its programs."""
    fake_program.install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert train(fake_program.config(run_dir=str(tmp_path / "run"), **changes)) == 0
    return jax.config.jax_compilation_cache_dir


def test_they_are_kept_and_their_number_is_bounded(monkeypatch, tmp_path):
    folder = kept(monkeypatch, tmp_path, tmp_path / "cache")
    assert folder == str(tmp_path / "cache" / "knife_jax") and (tmp_path / "cache").is_dir()
    assert jax.config.jax_compilation_cache_max_size == 4 * 2**30


def test_one_switch_turns_it_off(monkeypatch, tmp_path):
    assert kept(monkeypatch, tmp_path, tmp_path / "cache", compile_cache=False) is None
    assert not (tmp_path / "cache").exists()


def test_another_folder_stays(monkeypatch, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    assert kept(monkeypatch, tmp_path, tmp_path / "cache") == str(tmp_path / "mine")


def test_a_folder_that_cannot_be_made_is_no_hindrance(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    assert kept(monkeypatch, tmp_path, tmp_path / "file") is None
