"""``python -m knife_jax.report.study RUNS``: the table, figure and record of a study."""

from knife_jax.program import run


def main() -> None:
    """Report on finished runs; exit with 2 and one line if there are none."""
    run("knife_jax.report.write")


if __name__ == "__main__":
    main()
