"""``python -m knife_jax.study NAME``: the methods of an experiment in turn, then a report."""

from knife_jax.console.entry import run


def main() -> None:
    """Run a study; exit with 2 and one line if it cannot be accepted."""
    run("knife_jax.cli.study")


if __name__ == "__main__":
    main()
