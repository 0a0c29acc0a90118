"""Shared by all tests: sizes that are distinct primes, so that a swapped axis cannot pass."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the suite's time is compiling: leave out LLVM's optimisations, here and in the
# subprocesses of tests. Tests of bits ask for them where they compile.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

import jax
import pytest


@pytest.fixture
def key():
    return jax.random.key(20250625)
