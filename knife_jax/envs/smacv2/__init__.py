"""SMACv2: StarCraft II itself, one process for each game, outside of jax."""
