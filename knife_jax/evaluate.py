"""``python -m knife_jax.evaluate RUN``: play the policy of a checkpoint of a run greedily."""

from knife_jax.console.entry import run


def main() -> None:
    """Print the evaluation of a run; exit with 2 and one line if it cannot be made."""
    run("knife_jax.cli.evaluate")


if __name__ == "__main__":
    main()
