"""The only part of the program that touches clocks, files, signals and the network."""
