"""Shared by all tests: sizes that are distinct primes, so that a swapped axis cannot pass."""

import os
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the suite's time is compiling: leave out LLVM's optimisations and XLA's slower code
# generator, here and in the subprocesses of tests.
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):  # a flag that is not known ends the process
    QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}"

import jax
import pytest


@pytest.fixture
def key():
    return jax.random.key(20250625)
