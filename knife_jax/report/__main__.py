"""``python -m knife_jax.report RUNS``: runs compared on one interactive page."""

from knife_jax.console.entry import run

if __name__ == "__main__":
    run("knife_jax.cli.page")
