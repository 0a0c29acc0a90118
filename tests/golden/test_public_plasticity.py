"""``knife_jax.plasticity`` for others: what it imports, the README's example, the checks."""

import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from knife_jax import plasticity
from knife_jax.types import Patient

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

ALONE = """
import sys
import knife_jax.plasticity
ours = {name for name in sys.modules if name.startswith("knife_jax.")}
wings = {name.split(".")[1] for name in ours}
assert wings <= {"checks", "clock", "config", "nets", "plasticity", "types"}, wings
assert not {"hydra", "omegaconf", "jaxmarl", "wandb", "orbax", "matplotlib"} & set(sys.modules)
"""


def test_it_needs_neither_configuration_nor_environments():
    subprocess.run([sys.executable, "-c", ALONE], check=True)


def test_the_example_of_the_readme(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) <= 46
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    patient, measured, key, x = (names[n] for n in ("patient", "measured", "key", "x"))
    assert "Occupancy" in capsys.readouterr().out
    assert names["value"] < 0.5 * jnp.mean(jnp.square(names["y"]))
    assert plasticity.occupancy(patient.online["grafts"], 3).slots_used > 0
    wiring = names["wiring"]
    all_of_them = plasticity.surgery(
        wiring, plasticity.unmeasured(wiring), plasticity.all_units, plasticity.graft(wiring, 3),
        plasticity.never,
    )  # fmt: skip
    operated, _, report = all_of_them.operate(patient, {}, key)
    assert report.units_operated > 32
    plasticity.check_operation(patient, operated)
    values = lambda online: names["Net"]().apply(online, x, 3)[0]  # noqa: E731
    assert plasticity.change(values, patient.online, operated.online) == 0
    plasticity.check_operation(patient, names["method"].operate(patient, measured, key)[0])


def test_broken_operations_are_found():
    before = Patient({"params": {"a": jnp.ones(3)}}, {}, ())
    plasticity.check_operation(before, before)
    for broken, told in (
        ({"params": {"b": jnp.ones(3)}}, "structure"),
        ({"params": {"a": jnp.ones(2)}}, r"was float32\(3,\), is float32\(2,\)"),
        ({"params": {"a": jnp.ones(3, jnp.bfloat16)}}, "bfloat16"),
        ({"params": {"a": jnp.array([1.0, np.nan, 1.0])}}, "not finite"),
    ):
        with pytest.raises(ValueError, match=told):
            plasticity.check_operation(before, before._replace(online=broken))
    grown = {"params": {"a": jnp.array([1.0, 4.0, 0.5])}}
    assert plasticity.change(lambda v: v["params"]["a"] * 2, before.online, grown) == 6


def test_everything_named_is_there():
    assert all(hasattr(plasticity, name) for name in plasticity.__all__)
    assert {*plasticity.METHODS} - {"none", "layer_norm", "wider"} <= {*plasticity.__all__}
