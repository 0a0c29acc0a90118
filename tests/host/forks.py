"""Programs that begin at once: forks of a process that has imported what takes long.

Each is a process of its own, with the words, folder, environment and output that it would have had;
it finds the modules of ``IMPORTED`` imported, and jax with the settings of this process. Run as a
script, this is the process that is forked.
"""

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
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


class Forks:
    """Begins programs, one after the other; ``scratch`` is a folder for what they print."""

    def __init__(self, scratch: Path) -> None:
        self.out, self.err = scratch / "out", scratch / "err"
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, words: list[str], cwd: Path | None = None, env: Mapping[str, str] = os.environ
    ) -> subprocess.CompletedProcess[str]:
        """``python`` and further words, as ``subprocess.run`` would run them."""
        ends = {"cwd": str(cwd or Path.cwd()), "out": str(self.out), "err": str(self.err)}
        assert self.process.stdin and self.process.stdout
        print(
            json.dumps({"words": words, "env": {**env}, **ends}),
            file=self.process.stdin,
            flush=True,
        )
        code = int(self.process.stdout.readline())
        out, err = (path.read_text(encoding="utf-8") for path in (self.out, self.err))
        return subprocess.CompletedProcess(words, code, out, err)

    def close(self) -> None:
        """No further programs."""
        self.process.communicate()


def begin(words: list[str], env: dict[str, str], cwd: str, out: str, err: str) -> None:
    """Be the process that was asked for."""
    signal.alarm(MOST_SECONDS)
    for number, path in enumerate((os.devnull, out, err)):
        os.dup2(os.open(path, (os.O_RDWR | os.O_CREAT | os.O_TRUNC) * bool(number)), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
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
    """Fork for each line of the input; answer with the exit code."""
    for module in IMPORTED:
        import_module(module)
    import_module("knife_jax.cli").compose()  # reads what all compositions share
    gc.freeze()
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # no backend of jax has begun
    for line in sys.stdin:
        if pid := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        else:
            begin(**json.loads(line))
            return


if __name__ == "__main__":
    main()
