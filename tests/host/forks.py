"""Programs that begin at once: forks of a process that has imported what takes long.

Each is a process of its own, with the words, folder, environment and output that it would have had;
it finds the modules of ``IMPORTED`` imported, and jax with the settings of this process. Run as a
script, this is the process that is forked.
"""

import gc
import itertools
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path

IMPORTED = (
    "hydra._internal.utils", "hydra._internal.hydra", "hydra.core.plugins", "omegaconf", "yaml",
    "knife_jax.cli.compose", "knife_jax.config.run", "jax", "flax.linen", "optax",
    "matplotlib.pyplot", "plotly.graph_objects", "wandb", "orbax.checkpoint", "tensorboardX",
    "knife_jax.builders.program",
)  # fmt: skip
MOST_SECONDS = 600


class Fork:
    """A program that was begun; ``out`` and ``err`` are the files of what it prints."""

    def __init__(self, words: list[str], folder: Path, pid: int) -> None:
        self.words, self.pid = words, pid
        self.out, self.err, self.code = folder / "out", folder / "err", folder / "code"

    def poll(self) -> int | None:
        """Its exit code once it has ended, as that of ``subprocess.Popen``."""
        return int(self.code.read_text()) if self.code.exists() else None

    def wait(self) -> int:
        """Until it has ended: its exit code."""
        while (code := self.poll()) is None:
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Unless it has ended."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """Begins programs; ``scratch`` is a folder for what they print."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.numbers = scratch, itertools.count()
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(
        self, words: list[str], cwd: Path | None = None, env: Mapping[str, str] = os.environ
    ) -> Fork:
        """``python`` and further words, as ``subprocess.Popen`` would begin them."""
        folder = self.scratch / str(next(self.numbers))
        folder.mkdir()
        told = {"words": words, "env": {**env}, "cwd": str(cwd or Path.cwd())}
        assert self.process.stdin and self.process.stdout
        print(json.dumps(told | {"folder": str(folder)}), file=self.process.stdin, flush=True)
        return Fork(words, folder, int(self.process.stdout.readline()))

    def run(
        self, words: list[str], cwd: Path | None = None, env: Mapping[str, str] = os.environ
    ) -> subprocess.CompletedProcess[str]:
        """``python`` and further words, as ``subprocess.run`` would run them."""
        fork = self.start(words, cwd, env)
        code = fork.wait()
        out, err = (path.read_text(encoding="utf-8") for path in (fork.out, fork.err))
        return subprocess.CompletedProcess(words, code, out, err)

    def close(self) -> None:
        """No further programs."""
        self.process.communicate()


def begin(words: list[str], env: dict[str, str], cwd: str, folder: str) -> None:
    """Be the process that was asked for."""
    signal.alarm(MOST_SECONDS)
    for number, path in enumerate((os.devnull, f"{folder}/out", f"{folder}/err")):
        os.dup2(os.open(path, (os.O_RDWR | os.O_CREAT | os.O_TRUNC) * bool(number)), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # that of this environment
    sys.orig_argv[:] = words
    sys.path[:0] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    sys.modules.pop("sitecustomize", None)
    with suppress(ModuleNotFoundError):
        import_module("sitecustomize")
    if words[1] == "-c":
        sys.argv[:], sys.path[0:0] = ["-c", *words[3:]], [""]
        exec(words[2], vars(sys.modules["__main__"]))
    elif words[1] == "-m":
        sys.argv[:], sys.path[0:0] = words[2:], [cwd]
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:], sys.path[0:0] = words[1:], [str(Path(cwd, words[1]).resolve().parent)]
        runpy.run_path(words[1], run_name="__main__")


def main() -> None:
    """Fork for each line of the input; answer with the number of the process, whose exit code goes
    into a file of its folder."""
    for module in IMPORTED:
        import_module(module)
    import_module("knife_jax.cli").compose()  # reads what all compositions share
    gc.freeze()
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # no backend of jax has begun
    for line in sys.stdin:
        told = json.loads(line)
        if os.fork():
            continue
        if not (pid := os.fork()):
            begin(**told)
            return
        print(pid, flush=True)
        written = Path(told["folder"], "code.written")
        written.write_text(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
        written.rename(written.with_name("code"))
        os._exit(0)
    with suppress(ChildProcessError):
        while os.wait():
            pass


if __name__ == "__main__":
    main()
