"""``python -m knife_jax.watch RUN``: record episodes of a run's policy, to be watched."""

from knife_jax.console.entry import run


def main() -> None:
    """Write a recording of a run; exit with 2 and one line if it cannot be made."""
    run("knife_jax.cli.watch")


if __name__ == "__main__":
    main()
