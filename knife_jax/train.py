"""``python -m knife_jax.train``: check the command line, then train."""

from knife_jax.console.entry import run


def main() -> None:
    """Train; exit with 2 and one line if the command line is not accepted."""
    run("knife_jax.cli.launch")


if __name__ == "__main__":
    main()
