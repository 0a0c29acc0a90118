"""Compiled programs are kept in the user's cache folder, unless somebody says otherwise."""

import re

import fake_program
import jax
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from knife_jax.host import compile_cache
from knife_jax.host.loop import train
from knife_jax.host.table import compiling


@pytest.fixture(autouse=True)
def restored():
    names = (
        "jax_compilation_cache_dir", "jax_compilation_cache_max_size",
        "jax_persistent_cache_min_compile_time_secs",
    )  # fmt: skip
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    reset_cache()
    yield
    reset_cache()
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


def begin(monkeypatch, cache):
    """A program of a new start, and whether it was found in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    jax.config.update("jax_compilation_cache_dir", None)
    compile_cache.keep()

    def tripled(x):
        return 3 * x

    program, found = compile_cache.compiled(jax.jit(tripled).lower(1.0))
    assert program(2.0) == 6
    return found


def test_it_is_known_whether_a_program_was_found(monkeypatch, tmp_path):
    assert [begin(monkeypatch, tmp_path) for _ in range(3)] == [False, True, True]


def test_half_a_program_is_compiled_again_and_written_whole(monkeypatch, tmp_path):
    """As a killed process leaves it. jax alone would warn at every start and store nothing."""
    begin(monkeypatch, tmp_path)
    (program,) = tmp_path.glob("knife_jax/jit_tripled-*-cache")
    (note,) = tmp_path.glob("knife_jax/jit_tripled-*-atime")
    program.write_bytes(program.read_bytes()[:99])
    note.unlink()
    reset_cache()
    assert [begin(monkeypatch, tmp_path) for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    ("cached", "told"),
    [(True, "found compiled, ready in"), (False, "compiled in"), (None, "ready in")],
)
def test_the_user_is_told_what_the_wait_was_for(capsys, cached, told):
    about = {"compile_cached": None}
    with compiling("a run", about):
        about["compile_cached"] = cached
    assert re.fullmatch(rf"a run: compiling\n{told} \d+\.\d s\n", capsys.readouterr().out)
