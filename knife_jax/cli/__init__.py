"""The command lines of the programs: words become a configuration. Free of jax."""

from knife_jax.cli.compose import compose, configs_dir, options, parse, preflight, read

__all__ = ["compose", "configs_dir", "options", "parse", "preflight", "read"]
