"""The interactive page about runs: ``python -m knife_jax.report``."""
