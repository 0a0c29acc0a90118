"""Shared by all tests: sizes that are distinct primes, so that a swapped axis cannot pass."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest


@pytest.fixture
def key():
    return jax.random.key(20250625)
