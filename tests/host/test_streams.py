"""Programs whose output goes away end as if it had been read."""

import os
import pty
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENV = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


@contextmanager
def without_reader():
    """The end of a pipe that nothing reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def closed_terminal():
    """The inner side of a terminal whose window was closed."""
    outer, inner = pty.openpty()
    os.close(outer)
    yield inner
    os.close(inner)


@contextmanager
def full_disk():
    """A file on a disk without room."""
    with open("/dev/full", "w") as file:
        yield file.fileno()


WRITES = """
import os, sys, threading, warnings
from knife_jax.console.streams import outlast_readers
outlast_readers()
with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2, file.fileno()
    print("a line", flush=True)
    print("x" * 100_000)
    print("a line", file=sys.stderr)
    warnings.warn("a warning")
    threading.Thread(target=print, args=("from a thread",)).start()
    file.write("to the end")
print("left in the buffer", end="")
sys.exit(7)
"""


@pytest.mark.parametrize("gone", [without_reader, closed_terminal, full_disk])
@pytest.mark.parametrize("options", [(), ("-u",)], ids=["buffered", "-u"])
def test_the_program_goes_on_to_its_own_end(tmp_path, gone, options):
    command = [sys.executable, *options, "-c", WRITES, str(tmp_path / "file")]
    with gone() as output:
        assert subprocess.run(command, env=ENV, stdout=output, stderr=output).returncode == 7
        assert (tmp_path / "file").read_text() == "to the end"
        done = subprocess.run(command, env=ENV, stdout=output, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 7 and done.stderr.count("\n") == 2, done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_descriptors_closed_before_the_start(tmp_path, closed):
    command = ["bash", "-c", f'"$@" {closed}', "-", sys.executable, "-c", WRITES]
    done = subprocess.run([*command, tmp_path / "file"], env=ENV, capture_output=True, text=True)
    assert done.returncode == 7
    assert (tmp_path / "file").read_text() == "to the end"
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr


def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_all():
    script = "from knife_jax.console.streams import outlast_readers as o; o(); print('x' * 500_000)"
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    command = [sys.executable, "-c", script]
    with open(reader) as text, subprocess.Popen(command, env=ENV, stdout=writer):
        os.close(writer)
        assert text.read() == "x" * 500_000 + "\n"


def test_characters_that_the_encoding_lacks_are_spelt_out():
    script = "from knife_jax.console.streams import outlast_readers as o; o(); print('\\u03b5 = 1')"
    env = ENV | {"PYTHONIOENCODING": "ascii"}
    assert subprocess.check_output([sys.executable, "-c", script], env=env) == b"\\u03b5 = 1\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("train --help", 0),
        ("train --cfg job", 0),
        ("train algo.lrr=1", 2),
        ("evaluate --help", 0),
        ("study nowhere", 2),
        ("report.study --help", 0),
    ],
)
def test_short_commands_end_quietly(words, code):
    program, *rest = words.split()
    command = [sys.executable, "-m", f"knife_jax.{program}", *rest]
    with without_reader() as output:
        done = subprocess.run(command, env=ENV, stdout=output, stderr=subprocess.PIPE, text=True)
    assert done.returncode == code
    assert done.stderr.count("\n") == (code != 0), done.stderr


def test_a_file_that_cannot_be_written_ends_any_program_in_one_line(tmp_path):
    (tmp_path / "report.py").write_text(
        "import pathlib\n"
        "from knife_jax.records.directory import write\n"
        "def main():\n"
        f"    write(pathlib.Path('{tmp_path}/none/report.md'), b'table')\n"
    )
    script = "from knife_jax.console.entry import run; run('report')"
    env = ENV | {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    message = f"error: {tmp_path}/none/report.md: No such file or directory\n"
    assert (done.returncode, done.stderr) == (1, message)
