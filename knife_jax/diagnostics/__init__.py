"""Instruments: what the state of a network's neurons says about its plasticity."""
