"""The mixers by name. Free of jax."""

from __future__ import annotations

MIXERS: dict[str, str] = {
    "qmix": "knife_jax.mixers.qmix:QMixer",
    "vdn": "knife_jax.mixers.vdn:VDNMixer",
    "iql": "knife_jax.mixers.iql:IQLMixer",
    "qplex": "knife_jax.mixers.qplex:QPLEXMixer",
    "wqmix": "knife_jax.mixers.wqmix:wqmix",
    "resq": "knife_jax.mixers.resq:resq",
    "dmix": "knife_jax.mixers.dmix:dmix",
    "rmix": "knife_jax.mixers.rmix:rmix",
}
"""``algo.mixer`` -> ``"module:name"`` of what makes it: (``MixerOptions``) -> ``Mixer``, or a
``Factorisation`` that has one. One's own is added by ``MIXERS["mine"] = "my_module:MyMixer"``."""
