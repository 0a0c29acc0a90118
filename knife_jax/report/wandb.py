"""``python -m knife_jax.report.wandb STUDY --project P``: a study as a W&B Report."""

from knife_jax.console.entry import run


def main() -> None:
    """Publish the report, or write what would be sent; exit with 2 and one line if it cannot."""
    run("knife_jax.cli.report_wandb")


if __name__ == "__main__":
    main()
