"""``python -m knife_jax.bench.plasticity``: all plasticity methods on two supervised tests."""

from knife_jax.console.entry import run


def main() -> None:
    """Run the benchmark."""
    run("knife_jax.bench.compare")


if __name__ == "__main__":
    main()
