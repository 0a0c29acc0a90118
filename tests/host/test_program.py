"""Every program: Ctrl-C from its first moment, and what it prints to terminals of any kind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from knife_jax.console import exit_codes
from knife_jax.console.entry import INTERRUPTED
from knife_jax.console.messages import printable

PROGRAMS = ["train", "evaluate", "study", "report.study", "bench.plasticity"]


def begin(program, *words, flags=(), **environment):
    return subprocess.Popen(
        [sys.executable, *flags, "-m", f"knife_jax.{program}", *words],
        env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("program", "words", "module"),
    [
        ("train", "", "hydra"),
        ("train", "", "jax._src"),
        ("study", "matrix_sequence", "omegaconf"),
        ("evaluate", ".", "jax._src"),
        ("report.study", ".", "matplotlib"),
        ("bench.plasticity", "--quick", "jax._src"),
    ],
)
def test_ctrl_c_while_importing_is_quiet(program, words, module, tmp_path):
    process = begin(program, *words.replace(".", str(tmp_path)).split(), flags=["-X", "importtime"])
    for line in process.stderr:  # which Python writes for every module
        if line.rpartition("|")[2].strip().startswith(module):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED == 130
    assert [line for line in err.splitlines() if not line.startswith("import time:")] == []
    assert out == ""


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_needs_no_unicode(program):
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    out, err = (process := begin(program, "--help", **bare)).communicate(timeout=60)
    assert (process.returncode, err) == (0, "") and out.isascii()
    if program == "train":
        ascii_only = begin(program, "--help", PYTHONIOENCODING="ascii").communicate(timeout=60)
        assert ascii_only == (out, "")


def test_what_commands_a_terminal_is_escaped():
    assert printable("a\x1b[31mé λ 中\x07\x9b\u202e\udcff\nb\tc\r") == (
        "a\\x1b[31mé λ 中\\x07\\x9b\\u202e\\udcff\nb\\tc\\r"
    )
    assert printable("a\nb", newlines=False) == "a\\nb"


ESCAPE = "\x1b]0;owned\x07\x1b[31m"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("train", [f"env.scenario={ESCAPE}"]),
        ("train", [f"seed=1\n{ESCAPE}"]),
        ("train", [f"--{ESCAPE}"]),
        ("evaluate", [ESCAPE]),
        ("evaluate", [".", "--episodes", ESCAPE]),
        ("evaluate", [".", f"--{ESCAPE}"]),
        ("study", ["matrix_sequence", "--methods", ESCAPE]),
        ("bench.plasticity", ["--methods", ESCAPE]),
    ],
)
def test_no_word_commands_the_terminal(program, words, forks):
    done = forks.run(["python", "-m", f"knife_jax.{program}", *words])
    out, err = done.stdout, done.stderr
    assert done.returncode == 2
    assert printable(out + err) == out + err
    assert err.startswith("error: ") and err.count("\n") == 1 and "\\x1b" in err


def test_the_exit_codes_of_the_page_are_those_of_the_program():
    page = (Path(exit_codes.__file__).parents[1] / "host" / "README.md").read_text()
    _, _, table = page.partition("| exit code | |\n|---|---|\n")
    shown = dict(re.findall(r"^\| (.+?) \| (.+) \|$", table.partition("\n\n")[0], re.M))
    begins = {"0": "complete", "1": "broke off", "2": "refused", "3": "all seeds have diverged"}
    assert list(shown)[:4] == list(begins)
    assert all(shown[code].startswith(text) for code, text in begins.items())
    assert (exit_codes.FAILED, exit_codes.REFUSED, exit_codes.DIVERGED) == (1, 2, 3)
    assert list(shown)[4:] == ["128 + signal"] and exit_codes.of_signal(15) == 128 + 15
    assert [exit_codes.is_of_signal(code) for code in (3, 128, 129)] == [False, False, True]
