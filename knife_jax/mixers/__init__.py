"""Value factorisation: how the agents' values become one team value."""

from knife_jax.mixers.qmix import QMixer

MIXERS = {"qmix": QMixer}
"""``algo.mixer`` -> the mixing network"""
