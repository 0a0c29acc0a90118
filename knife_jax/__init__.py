"""Value-factorisation learners in JAX whose networks are repaired while they learn."""

__version__ = "0.1.0"
