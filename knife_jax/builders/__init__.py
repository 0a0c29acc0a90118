"""Config becomes functions: here, and nowhere else."""
