"""Environments: pure ones (``Env``) and many of them stepped together (``VecEnv``)."""
