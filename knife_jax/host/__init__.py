"""The only loop: compiled chunks with logging, evaluation and checkpoints between them."""
