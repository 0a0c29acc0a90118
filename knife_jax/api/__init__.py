"""From Python, beside the command line: train, read what a run has left, play its policy."""
