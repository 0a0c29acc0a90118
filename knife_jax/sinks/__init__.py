"""Where numbers go: files, the terminal, W&B, pictures."""
