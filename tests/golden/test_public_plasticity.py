"""``knife_jax.plasticity`` for others: what it imports, the README's example, the checks."""

import doctest
import importlib
import itertools
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from knife_jax import plasticity
from knife_jax.types import Patient

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "knife_jax/plasticity/README.md").read_text(encoding="utf-8")

ALONE = """
import sys
import knife_jax.plasticity
ours = {name for name in sys.modules if name.startswith("knife_jax.")}
wings = {name.split(".")[1] for name in ours}
assert wings <= {"checks", "clock", "config", "nets", "plasticity", "types"}, wings
assert not {"hydra", "omegaconf", "jaxmarl", "wandb", "orbax", "matplotlib"} & set(sys.modules)
"""


WITH_LITTLE = """
import doctest, sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Missing())
from knife_jax import plasticity
from knife_jax.plasticity import apply
result = doctest.testmod(apply)
assert result.failed == 0 and result.attempted > 5, result
assert plasticity.step is apply.step
"""
"""a step of surgery (its example) if some modules cannot be imported"""

OF_TRAINING = {
    "chex", "detect_secrets", "filelock", "gymnax", "hydra", "jaxmarl", "matplotlib", "omegaconf",
    "orbax", "PIL", "platformdirs", "plotly", "safetensors", "six", "tensorboardX", "wandb",
    "xxhash",
}  # fmt: skip
"""what only training needs"""


def test_the_library_can_be_installed_alone():
    """With the packages that its page names, a step of surgery needs no other of the project's."""
    (named,) = re.findall(r"pip install -c constraints.txt ([\w ]+) && pip install --no-deps", PAGE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=]", text)[0].replace("-", "_") for text in project["dependencies"]}
    beyond = needed - {*named.split()}
    modules = {
        "hydra_core": "hydra",
        "orbax_checkpoint": "orbax",
        "pillow": "PIL",
        "pyyaml": "yaml",
    }
    of_flax_or_jax = {"rich", "scipy", "yaml"}
    assert {modules.get(name, name) for name in beyond} - of_flax_or_jax <= OF_TRAINING
    assert {*named.split()} <= needed
    subprocess.run([sys.executable, "-c", WITH_LITTLE, *OF_TRAINING], check=True)


def test_it_needs_neither_configuration_nor_environments():
    subprocess.run([sys.executable, "-c", ALONE], check=True)


def test_the_examples_of_the_page(capsys):
    example, own_method = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(example.splitlines()) <= 42 and example.count("p.step(") == 1
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    patient, state, key, x = (names[n] for n in ("patient", "state", "key", "x"))
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
    values = lambda online: names["Net"]().apply(online, x)[0]  # noqa: E731
    assert plasticity.change(values, patient.online, operated.online) == 0
    plasticity.check_operation(patient, names["method"].operate(patient, state, key)[0])

    # the method of one's own, which recycles the most active neuron
    exec(compile(own_method, "README.md", "exec"), names)
    plain = Patient({"params": patient.online["params"]}, {}, patient.opt_state)
    activation = jnp.ones(64).at[7].set(2.0)
    clocks = [plasticity.Clock.zero()._replace(updates=jnp.int32(n)) for n in range(51)]
    state, params = names["busiest"].init(plain.online), plain.online["params"]
    stats = plasticity.neuron_stats(wiring, params, params, {"hidden": activation})
    step = jax.jit(lambda *given: plasticity.step(names["busiest"], *given))
    for before, after in itertools.pairwise(clocks):
        operated, state, event = step(plain, state, stats, before, after, key)
        assert event.due == (int(after.updates) == 50)
    rows = np.any(operated.online["params"]["out"]["kernel"] != params["out"]["kernel"], axis=1)
    np.testing.assert_array_equal(np.flatnonzero(rows), [7])


def test_the_page_names_all_methods_and_no_parts_that_are_not_there():
    """Names alone in code marks, in the first column of the methods and anywhere in the parts."""
    methods, own = PAGE.split("## Methods")[1].split("## A method of your own")
    first = [line.split("|")[1] for line in methods.splitlines() if line.startswith("| `")]
    named = {name for column in first for name in re.findall(r"`(\w+)", column)}
    assert named | {"none", "layer_norm", "wider"} == {*plasticity.METHODS}
    parts = own.split("| part |")[1].split("\n\n")[0]
    given = {name for line in parts.splitlines() for name in re.findall(r"`(\w+)`", line)}
    assert given - {"scores", "mature"} <= {*plasticity.__all__} and len(given) > 20


MODULES = [module.name for module in pkgutil.iter_modules(plasticity.__path__)]


def test_the_examples_of_docstrings():
    """As a user types them: no example may print anything else than what it shows."""
    found = 0
    for name in MODULES:
        module = importlib.import_module(f"knife_jax.plasticity.{name}")
        failed, tried = doctest.testmod(module, raise_on_error=False)
        assert not failed, name
        found += tried
    assert found >= 15


def test_one_step_measures_and_operates_if_it_is_due():
    """``step`` is measure, trigger and operate by hand; without a surgery only the state moves."""
    init = plasticity.torch_init()
    wiring = (plasticity.NeuronGroup("hidden", 3, init.columns, outgoing=("out",)),)
    rng = np.random.default_rng(0)
    params = {
        name: {"kernel": jnp.asarray(rng.normal(size=shape)), "bias": jnp.ones(shape[1])}
        for name, shape in (("hidden", (5, 3)), ("out", (3, 2)))
    }
    patient = Patient({"params": params}, {}, optax.adam(1e-3).init(params))
    method = plasticity.redo(wiring, when=plasticity.every_updates(2), window=1)
    method = plasticity.with_monitor(method, plasticity.relative_update_activity(wiring, 1))
    activation = {"hidden": jnp.array([0.0, 1.0, 3.0])}
    stats = plasticity.neuron_stats(wiring, params, params, activation)
    clocks = [plasticity.Clock.zero()._replace(updates=jnp.int32(n)) for n in range(3)]
    key, state = jax.random.key(1), method.init(patient.online)

    def change(before, after):
        values = lambda variables: variables["params"]["out"]["kernel"]  # noqa: E731
        return plasticity.change(values, before.online, after.online)

    left, state, event = plasticity.step(
        method, patient, state, stats, clocks[0], clocks[1], key, change
    )
    assert not event.due and event.units_operated == 0 and event.change == 0
    jax.tree.map(np.testing.assert_array_equal, left, patient)
    by_hand = method.measure(state, stats, clocks[2])
    expected, forgotten, report = method.operate(patient, by_hand, key)
    after, state, event = plasticity.step(
        method, patient, state, stats, clocks[1], clocks[2], key, change
    )
    assert event.due and event.units_operated == report.units_operated == 1
    np.testing.assert_array_equal(event.scores["hidden"], np.ones(3))
    assert event.change == np.max(np.abs(params["out"]["kernel"][0])) > 0
    jax.tree.map(np.testing.assert_array_equal, (after, state), (expected, forgotten))
    _, _, unseen = plasticity.step(method, patient, by_hand, stats, clocks[1], clocks[2], key)
    assert np.isnan(unseen.change)
    with pytest.raises(ValueError, match=r"step: stats=.* is refused: must be a NeuronStats"):
        plasticity.step(method, patient, state, clocks[0], clocks[1], clocks[2], key)


def test_broken_operations_are_found():
    before = Patient({"params": {"a": jnp.ones(3)}}, {}, ())
    plasticity.check_operation(before, before)
    for broken, message in (
        ({"params": {"b": jnp.ones(3)}}, "structure"),
        ({"params": {"a": jnp.ones(2)}}, r"was float32\(3,\), is float32\(2,\)"),
        ({"params": {"a": jnp.ones(3, jnp.bfloat16)}}, "bfloat16"),
        ({"params": {"a": jnp.array([1.0, np.nan, 1.0])}}, "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            plasticity.check_operation(before, before._replace(online=broken))
    grown = {"params": {"a": jnp.array([1.0, 4.0, 0.5])}}
    assert plasticity.change(lambda v: v["params"]["a"] * 2, before.online, grown) == 6


def test_everything_named_is_there():
    assert all(hasattr(plasticity, name) for name in plasticity.__all__)
    assert {*plasticity.METHODS} - {"none", "layer_norm", "wider"} <= {*plasticity.__all__}
