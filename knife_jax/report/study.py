"""``python -m knife_jax.report.study RUNS``: the table, figure and record of a study."""

from knife_jax.console.entry import run


def main() -> None:
    """Report on finished runs; exit with 2 and one line if there are none."""
    run("knife_jax.cli.report")


if __name__ == "__main__":
    main()
