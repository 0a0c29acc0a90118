"""Benchmarks of plasticity methods on supervised networks."""
