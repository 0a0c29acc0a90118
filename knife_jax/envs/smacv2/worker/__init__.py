"""A process that plays one game, run alone: ``PYTHONPATH=<this folder's parent> python -m worker``.

It needs NumPy and what its game needs, on any Python from 3.8 on, and nothing of ``knife_jax``.
"""
