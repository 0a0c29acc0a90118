"""Compiled programs are kept in the user's cache folder, unless somebody says otherwise."""

import os
import random
import re
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import fake_program
import jax
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from knife_jax.host import compile_cache
from knife_jax.host.loop import train
from knife_jax.sinks.terminal import compiling


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
    assert Path(folder).parent == tmp_path / "cache" / "knife_jax" and Path(folder).is_dir()
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


def begin(monkeypatch, cache, own=True):
    """A program of a new start, and whether it was found in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    if own:
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
    (program,) = tmp_path.glob("knife_jax/*/jit_tripled-*-cache")
    (note,) = tmp_path.glob("knife_jax/*/jit_tripled-*-atime")
    program.write_bytes(program.read_bytes()[:99])
    note.unlink()
    reset_cache()
    assert [begin(monkeypatch, tmp_path) for _ in range(2)] == [False, True]


def flipped(content):
    """With one bit changed, anywhere."""
    at = random.Random(len(content)).randrange(len(content))
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [flipped, lambda content: content[:99], lambda _: b"", lambda _: zlib.compress(b"0000other")],
    ids=["flipped", "cut", "empty", "other"],
)
@pytest.mark.parametrize("own", [True, False], ids=["our folder", "another"])
def test_a_damaged_program_is_compiled_told_of_and_replaced(
    monkeypatch, tmp_path, capfd, damage, own
):
    if not own:
        monkeypatch.setattr(compile_cache, "user_cache_path", None)
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    again = partial(begin, monkeypatch, tmp_path, own)
    assert [again(), again()] == [False, True]
    (program,) = tmp_path.rglob("jit_tripled-*-cache")
    program.write_bytes(damage(program.read_bytes()))
    assert [again(), again()] == [False, True]
    err = capfd.readouterr().err
    message = f"a compiled program in {program.parent} is damaged: it is compiled anew"
    assert err == f"warning: {message}\n"


def test_a_program_that_takes_as_long_to_load_as_to_compile_was_not_found(monkeypatch):
    """XLA reports a hit even if it compiles while it loads."""

    def compiling(loading, saved):
        def compile():
            jax.monitoring.record_event(compile_cache.FOUND)
            jax.monitoring.record_event_duration_secs(compile_cache.SAVED, saved)
            jax.monitoring.record_event_duration_secs(compile_cache.RETRIEVED, loading)

        return compile_cache.compiled(SimpleNamespace(compile=compile))[1]

    assert compiling(0.5, 24.5) and compiling(8.0, 17.0) and compiling(0.4, -0.4)
    assert compiling(2.1, -1.0)  # of a small program, on a busy machine
    assert not compiling(26.0, -1.0)


def test_another_thread_that_finds_its_program_is_not_counted(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def compile():
        with ThreadPoolExecutor(1) as beside:
            beside.submit(jax.monitoring.record_event, compile_cache.FOUND).result()

    assert not compile_cache.compiled(SimpleNamespace(compile=compile))[1]


PROMPTLY = """
import jax
from knife_jax.cli.launch import main

jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
main()
"""
"""a run that keeps each of its programs, however soon it was compiled"""


def test_a_run_that_finds_its_program_does_not_compile_it(forks, tmp_path):
    """XLA writes down what it gives to LLVM, if it is asked to; a hit alone would say little."""
    words = ("env=matrix_game", "algo=vdn", "algo.hidden=3", "env.n_envs=4", "algo.batch_size=4",
             "env_steps=200", "log_every=100", "evaluation.episodes=4", "recording.episodes=0",
             "logger.wandb=disabled", "devices=1")  # fmt: skip
    found = []
    for name in ("first", "second"):
        asked = f"--xla_dump_to={tmp_path / name} --xla_dump_hlo_module_re=one_shard"
        done = forks.run(
            ["python", "-c", PROMPTLY, *words, f"run_dir={tmp_path / 'run' / name}"],
            env=os.environ | {
                "XDG_CACHE_HOME": str(tmp_path / "cache"),
                "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {asked}",
            },
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        compiled = any((tmp_path / name).glob("*.jit_one_shard.*.ll"))
        found.append(("found compiled" in done.stdout, compiled))
    assert found == [(False, True), (True, False)]


def test_a_folder_that_is_full_is_told_in_one_line(capfd):
    message = "Error writing persistent compilation cache entry for 'x': full"
    lowered = SimpleNamespace(compile=lambda: warnings.warn(message, stacklevel=1))
    assert compile_cache.compiled(lowered) == (None, False)
    assert capfd.readouterr().err == f"warning: {message}\n"


def test_each_kind_of_cpu_has_a_folder_of_its_own(monkeypatch):
    """XLA would load what holds instructions that this one lacks."""
    here, message = (
        compile_cache._cpu(),
        "vendor_id\t: A\nflags\t\t: sse sse2\ncpu MHz\t\t: 2100\n\n",
    )
    names = []
    for text in (message, message.replace("2100", "800"), message.replace(" sse2", "")):
        monkeypatch.setattr(Path, "read_text", lambda _, text=text: text)
        names.append(compile_cache._cpu())
    assert names[0] == names[1] and len({here, *names}) == 3


@pytest.mark.parametrize(
    ("cached", "message"),
    [(True, "found compiled, ready in"), (False, "compiled in"), (None, "ready in")],
)
def test_the_user_is_told_what_the_wait_was_for(capsys, cached, message):
    about = SimpleNamespace(compile_cached=None)
    with compiling("a run", about) as traced:
        if cached is not None:
            traced()
        about.compile_cached = cached
    stage = r"traced in \d+\.\d s, compiling training and evaluation\n" * (cached is not None)
    out = capsys.readouterr().out
    assert re.fullmatch(rf"a run: compiling\n{stage}{message} \d+\.\d s\n", out)
