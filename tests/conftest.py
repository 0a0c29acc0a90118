"""Shared by all tests: sizes that are distinct primes, so that a swapped axis cannot pass."""

import gc
import os
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# not the user's own folder of compiled programs
os.environ.setdefault("XDG_CACHE_HOME", f"{tempfile.gettempdir()}/knife_jax-tests")
# Bytecode is kept, whatever the shell says: the processes that tests start import the package.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Most of the suite's time is compiling: leave out LLVM's optimisations and XLA's slower code
# generator (a flag that a version does not know ends the process), here and in subprocesses.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1",
        "--xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else "",
    ]
)
# nor do programs record the lines of Python that they come from
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"

import jax
import pytest
from host.forks import Forks

jax.devices()  # one, whatever a test that comes first would ask for

# tracing makes many small objects that are no garbage; by default they are scanned again and again
gc.set_threshold(200_000, 50, 1000)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure():
    gc.freeze()  # garbage has been looked for: what is left is not scanned again and again


@cache
def is_group(file):
    return "xdist_group" in Path(file).read_text(encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """All tests of a file that is a group go to one worker, and make what they share once.

    pytest-xdist 3.8 itself writes groups where pytest 9.2 does not read them (its issue 1386).
    """
    from xdist.scheduler.loadgroup import LoadGroupScheduling

    class WholeFiles(LoadGroupScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return file if is_group(config.rootpath / file) else nodeid

    return WholeFiles(config, log)


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """Runs programs of Python that need not be begun anew."""
    begun = Forks(tmp_path_factory.mktemp("forks"))
    yield begun
    begun.close()


@pytest.fixture
def networks_at_once(monkeypatch):
    """Networks of numbers that no program draws, which takes most of the time to compile one that
    begins a run: for what does not depend on how they begin."""
    from tiny import begin_networks

    monkeypatch.setattr("knife_jax.training.learner.init_networks", begin_networks)


@pytest.fixture
def key():
    return jax.random.key(20250625)
