"""Shared by all tests: sizes that are distinct primes, so that a swapped axis cannot pass."""

import gc
import os
import tempfile
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# not the user's own folder of compiled programs
os.environ.setdefault("XDG_CACHE_HOME", f"{tempfile.gettempdir()}/knife_jax-tests")
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


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """Runs programs of Python that need not be begun anew."""
    begun = Forks(tmp_path_factory.mktemp("forks"))
    yield begun
    begun.close()


@pytest.fixture
def key():
    return jax.random.key(20250625)
