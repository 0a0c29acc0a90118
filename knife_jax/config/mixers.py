"""The mixers by name. Free of jax."""

from __future__ import annotations

MIXERS: dict[str, str] = {
    "qmix": "knife_jax.mixers.qmix:QMixer",
    "vdn": "knife_jax.mixers.vdn:VDNMixer",
}
"""``algo.mixer`` -> ``"module:name"`` of what makes it: (``MixerOptions``) -> ``Mixer``. One's own
is added by ``MIXERS["mine"] = "my_module:MyMixer"``."""
