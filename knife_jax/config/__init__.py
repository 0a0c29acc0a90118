"""The configuration of a run: what each field means and allows. Free of jax."""
