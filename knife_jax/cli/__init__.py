"""The command lines of the programs: words become a configuration. Free of jax."""

from knife_jax.cli.compose import compose
from knife_jax.cli.files import configs_dir, options
from knife_jax.cli.sweeps import preflight
from knife_jax.cli.words import parse

__all__ = ["compose", "configs_dir", "options", "parse", "preflight"]
