"""``python -m knife_jax.train``: check the command line, then train.

To be run and never imported: ``knife_jax.train`` is a function.
"""

from knife_jax.console.entry import train

if __name__ == "__main__":
    train()
