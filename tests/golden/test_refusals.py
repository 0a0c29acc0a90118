"""The plasticity library refuses what it would otherwise accept in silence: values when a part is
made, networks when a method's state is made, targets when it operates. Nothing is compiled."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from knife_jax import plasticity as p
from knife_jax.config.methods import PLASTICITIES
from knife_jax.config.schema import ConfigError, fields_of
from knife_jax.plasticity.methods import METHODS

INIT = p.torch_init()
HIDDEN = p.NeuronGroup("hidden", 5, INIT.columns, ("out",))
HEAD = p.NeuronGroup("out", 3, INIT.columns, kind="head")
WIRING = (HIDDEN, HEAD)
WHEN = p.every_updates(2)
NAN, INF = float("nan"), float("inf")


def net(slots=0, readers=(), bias=True):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = p.GraftedDense(5, INIT, slots, readers=readers, name="hidden")(x)
            return nn.Dense(3, use_bias=bias, name="out")(h[0] if readers else h)

    made = jax.eval_shape(lambda: Net().init(jax.random.key(0), jnp.zeros((2, 7))))
    made = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), made)
    return {"params": made["params"], "grafts": made.get("grafts", {})}


def scheduled(name, **values):
    return lambda: METHODS[name](WIRING, when=WHEN, **values)


def plain(name, **values):
    return lambda: METHODS[name](WIRING, **values)


COUNTS = (0, -1, 2.5, True, "two", None, NAN, INF, 10**4000, jnp.array([1, 2]))
VALUES = [
    *[("knife", "slots", scheduled("knife", slots=v)) for v in COUNTS],
    *[("knife", "window", scheduled("knife", window=v)) for v in (0, 1.5, NAN)],
    *[("knife", "cap", scheduled("knife", cap=v)) for v in (-1, 0, 1.01, NAN)],
    *[("knife", "threshold", scheduled("knife", threshold=v)) for v in (NAN, INF, 0, -1)],
    *[("knife", "maturity", scheduled("knife", maturity=v)) for v in (0, -3, 2.5, False)],
    ("knife", "select", scheduled("knife", select="randomm")),
    ("knife", "out_mode", scheduled("knife", out_mode="freshh")),
    ("knife", "measure", scheduled("knife", measure="post")),
    ("knife", "when", lambda: p.knife(WIRING, when=3)),
    ("plasticity_injection", "when", plain("plasticity_injection", when=500)),
    ("redo", "threshold", scheduled("redo", threshold=NAN)),
    ("reverse_redo", "threshold", scheduled("reverse_redo", threshold=0)),
    ("regrama", "window", scheduled("regrama", window=0)),
    ("pruning", "threshold", scheduled("pruning", threshold=-0.1)),
    ("reborn", "alpha", scheduled("reborn", alpha=NAN)),
    ("reborn", "alpha", scheduled("reborn", alpha=3.0, beta=3.0)),
    ("reborn", "form", scheduled("reborn", form="released")),
    ("shrink_perturb", "share", scheduled("shrink_perturb", share=1.5)),
    ("marr", "amplitude", scheduled("marr", amplitude=-0.2)),
    ("cbp", "rate", plain("cbp", rate=0)),
    ("cbp", "maturity", plain("cbp", maturity=-1)),
    ("cbp", "decay", plain("cbp", decay=1.1)),
    ("snr", "percentile", plain("snr", percentile=99)),
    ("snr", "refresh", plain("snr", refresh=0)),
    ("snr", "limit", plain("snr", limit=501)),
    ("l2_init", "strength", plain("l2_init", strength=INF)),
    ("wider", "slots", plain("wider", slots=0)),
    ("l2_task", "strength", scheduled("l2_task", strength=0)),
    ("ewc", "decay", scheduled("ewc", decay=1.5)),
    ("mas", "strength", scheduled("mas", strength=NAN)),
    *[("every_updates", "interval", lambda v=v: p.every_updates(v)) for v in (0, -4, 0.5)],
    ("every_env_steps", "interval", lambda: p.every_env_steps(0)),
    ("once", "env_steps", lambda: p.once(-1)),
    ("after_task_switch", "updates", lambda: p.after_task_switch(-1)),
    ("any_of", "triggers", lambda: p.any_of(p.never, 7)),
    ("below", "cap", lambda: p.below(0.5, 2)),
    ("at_most", "threshold", lambda: p.at_most(NAN)),
    ("at_least", "threshold", lambda: p.at_least(-1)),
    ("random_like", "select", lambda: p.random_like(0.5)),
    ("running", "window", lambda: p.running(WIRING, 0, lambda stats, name: stats)),
    ("relative_activation", "window", lambda: p.relative_activation(WIRING, -1)),
    ("graft", "slots", lambda: p.graft((HIDDEN,), 0)),
    ("toward_initial", "strength", lambda: p.toward_initial(0)),
    ("toward_anchor", "strength", lambda: p.toward_anchor(-1)),
    ("weight_importance", "kind", lambda: p.weight_importance("hessian", lambda x: x, 1)),
    ("torch_init", "scale", lambda: p.torch_init(NAN)),
    ("orthogonal_init", "scale", lambda: p.orthogonal_init(-1)),
    ("pct_below", "threshold", lambda: p.pct_below({}, NAN)),
    ("update_target", "tau", lambda: p.update_target({}, {}, 0)),
    ("occupancy", "slots", lambda: p.occupancy({}, -1)),
    ("surgery", "meter", lambda: p.surgery(
        WIRING, "no meter", p.all_units, p.recycle((HIDDEN,)), WHEN)),
    *[("GraftedDense", "slots", lambda v=v: p.GraftedDense(5, INIT, v)) for v in COUNTS[1:]],
    ("GraftedDense", "width", lambda: p.GraftedDense(0, INIT)),
    ("GraftedDense", "ids", lambda: p.GraftedDense(5, INIT, ids=-2)),
    ("GraftedDense", "init_with", lambda: p.GraftedDense(5, None)),
]  # fmt: skip


@pytest.mark.parametrize(("part", "argument", "make"), VALUES)
def test_values_are_refused_by_name(part, argument, make):
    with pytest.raises(ValueError) as refused:
        make()
    said = str(refused.value)
    refusal = rf"{part}: {argument}(\[\d\])?=.* is refused(?: \(did you mean .*\?\))?: must be "
    assert re.match(refusal, said)
    assert "\n" not in said and len(said) < 400


def test_concrete_numbers_of_any_kind_are_accepted():
    for two in (2, 2.0, np.int64(2), np.float32(2), jnp.array(2), jnp.float32(2)):
        method = p.knife(WIRING, when=WHEN, slots=two, cap=jnp.float32(0.5), window=np.uint8(9))
        assert method.claims.preserves == "outputs"
        assert p.GraftedDense(5, INIT, slots=two).slots == 2
    with pytest.raises(ValueError, match=r"redo: threshold=.* is refused"):
        jax.jit(lambda x: p.redo(WIRING, when=WHEN, threshold=x) and x)(0.1)


OTHER = HIDDEN._replace(name="other")
WIRINGS = {
    "this comes twice": (HIDDEN, HIDDEN, HEAD),
    "is read by it": (HIDDEN, OTHER),
    "at least one group of kind relu": (HEAD,),
    "a tuple of NeuronGroup": HIDDEN,
    "outgoing=out is refused: must be a tuple": (HIDDEN._replace(outgoing="out"),),
    "kind=reluu is refused": (HIDDEN._replace(kind="reluu"),),
    "width=0 is refused": (HIDDEN._replace(width=0),),
    "width=true is refused": (HIDDEN._replace(width=True),),
    "single slashes": (HIDDEN._replace(name="net//hidden"),),
    "fresh=null is refused": (HIDDEN._replace(fresh=None),),
}


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("case", WIRINGS)
def test_every_method_refuses_a_wrong_wiring_when_it_is_made(name, case):
    takes = inspect.signature(METHODS[name]).parameters
    needed = {"when": WHEN, "slots": 2}
    given = {key: value for key, value in needed.items() if key in takes}
    idle = name in {"none", "layer_norm", "wider", "l2_init", "nap", "l2_task", "ewc", "mas"}
    whole = {"reset_full", "reset_last", "restart_optimiser", "shrink_perturb", "marr"}
    if "relu" in case and (idle or name in whole):
        return  # they operate on whole layers, or on none
    with pytest.raises(ValueError, match=case):
        METHODS[name](WIRINGS[case], **given)


def test_a_method_that_zeroes_outgoing_weights_must_know_them():
    for name in ("redo", "pruning", "regrama", "reborn"):
        with pytest.raises(ValueError, match="outgoing of 'hidden'"):
            METHODS[name]((HIDDEN._replace(outgoing=()),), when=WHEN)
    with pytest.raises(ValueError, match="kind head"):
        p.reset_last((HIDDEN,), when=WHEN)
    with pytest.raises(ValueError, match=r"readers=.* must be with \['out'\]"):
        p.knife((HIDDEN,), when=WHEN, out_mode="fresh")
    with pytest.raises(ValueError, match="meter="):
        p.surgery((HIDDEN,), p.unmeasured(WIRING), p.all_units, p.graft((HIDDEN,), 1), WHEN)


KNIFE = p.knife(WIRING, when=WHEN, slots=3)
FRESH = p.knife(WIRING, when=WHEN, slots=3, out_mode="fresh")
REDO = p.redo(WIRING, when=WHEN)
NETWORKS = {
    "has graft slots for 1 surgeries, the method needs 3": (KNIFE, net(1)),
    "has graft slots for 4 surgeries": (KNIFE, net(4)),
    "grafts have no 'hidden'": (KNIFE, net(0)),
    "frozen outgoing weights for 0 readers, the method needs 1": (FRESH, net(3)),
    "for 1 readers, the method needs 0": (KNIFE, net(3, (3,))),
    "for 2 readers, the method needs 1": (FRESH, net(3, (3, 3))),
    "needs 1": (p.plasticity_injection(WIRING, when=p.once(5)), net(2)),
    "params have no 'hidden'; there: no layers": (REDO, {}),
    "params have no 'hidden'; there: out": (REDO, {"params": {"out": net()["params"]["out"]}}),
    "says 6 neurons": (p.redo((HIDDEN._replace(width=6),), when=WHEN), net()),
    "should read them": (p.redo((HIDDEN._replace(outgoing=("hidden",)),), when=WHEN), net()),
    "params have no 'readout'": (
        p.redo((HIDDEN._replace(outgoing=("readout",)),), when=WHEN), net()),
    "cbp: outgoing of 'hidden'=out is refused: must be a layer with a bias": (
        p.cbp(WIRING), net(bias=False)),
}  # fmt: skip


@pytest.mark.parametrize("case", NETWORKS)
def test_a_network_that_the_method_was_not_made_for_is_refused_when_its_state_is_made(case):
    method, online = NETWORKS[case]
    with pytest.raises(ValueError, match=re.escape(case)) as refused:
        method.init(online)
    assert "\n" not in str(refused.value)


def test_own_outgoing_weights_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"kept_rows_0.*not \(3, 5, 3\)"):
        FRESH.init(net(3, (4,)))


def test_networks_that_fit_are_accepted_also_inside_jit():
    KNIFE.init(net(3))
    FRESH.init(net(3, (3,)))
    jax.eval_shape(KNIFE.init, net(3))


@pytest.mark.parametrize(
    "method", [KNIFE, REDO, p.cbp(WIRING), p.shrink_perturb(WIRING, when=WHEN)]
)
def test_a_target_of_another_structure_is_refused(method):
    online = net(3)
    state = method.init(online)
    opt_state = optax.adam(0.1).init(online["params"])

    def operate(target, opt_state=opt_state):
        patient = p.Patient(online, target, opt_state)
        return jax.eval_shape(method.operate, patient, state, jax.random.key(0))

    operate({})
    operate(online)
    bare, other = {"params": online["params"]}, net(3)
    other["params"]["hidden"]["bias"] = np.zeros(6)
    for target in (bare, {**online, "params": {"hidden": {}}}, other):
        with pytest.raises(ValueError, match=r"target.* is refused"):
            operate(target)
    if method.claims.moments == "seeded":
        with pytest.raises(ValueError, match="no moments of hidden/kernel"):
            operate({}, optax.adam(0.1).init({"params": online["params"]}))


def test_neuron_stats_have_a_number_per_neuron_and_ids_an_axis():
    params = net()["params"]
    with pytest.raises(ValueError, match=r"activation of 'hidden'=\(1,\) is refused: .*\(5,\)"):
        p.neuron_stats((HIDDEN,), params, params, {"hidden": jnp.ones(1)})
    with pytest.raises(ValueError, match=r"ids=4 is refused"):
        jax.eval_shape(p.GraftedDense(5, INIT, ids=4).init, jax.random.key(0), np.ones((1, 7)))
    for n in (-1, 0.5, True):
        with pytest.raises(ValueError, match=f"with_open_slots: n={str(n).lower()} is refused"):
            p.with_open_slots({}, n)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_configuration_and_library_have_the_same_limits(name):
    """Field by field: type, limits, words and default; what each refuses by itself as well."""
    section, factory = fields_of(PLASTICITIES[name]), METHODS[name]
    parameters = inspect.signature(factory).parameters
    shared = set(parameters) & set(section)
    own = {"name", "method", "interval", "at_task_switch", "at", "scope"}
    idle = {"threshold", "window"} if name == "none" else set()
    assert shared == set(section) - own - idle
    assert set(parameters) - shared == {"wiring"} | {"when"} & set(parameters)
    given = {"when": WHEN} if "when" in parameters else {}
    required = {"at": 5} if "at" in section else {}
    made = PLASTICITIES[name](name=name, **required)
    assert set(made.arguments()) == shared and (made.schedule() is not None) == bool(given)
    for key in shared:
        words = [word for allowed in section[key].allowed for word in allowed.options]
        for value in (-1, 0, 0.5, 1, 1.5, 2**31, NAN, "word", True, None, *words):
            values = {key: value}
            config = refuses(lambda: PLASTICITIES[name](name=name, **required, **values))  # noqa: B023
            library = refuses(lambda: factory(WIRING, **given, **values))  # noqa: B023
            assert config == library, (key, value)
        assert parameters[key].default == getattr(made, key)


def refuses(make):
    try:
        make()
    except ValueError:
        return True
    return False


def test_what_does_not_fit_together_is_refused_by_both():
    for name, values in (("reborn", {"alpha": 3.5}), ("snr", {"longest": 99})):
        takes = inspect.signature(METHODS[name]).parameters
        with pytest.raises(ConfigError, match=r"plasticity.*is refused"):
            PLASTICITIES[name](name=name, **values)
        with pytest.raises(ValueError, match="is refused"):
            METHODS[name](WIRING, **({"when": WHEN} if "when" in takes else {}), **values)
    with pytest.raises(ConfigError, match=r"plasticity\.form=code is refused"):
        PLASTICITIES["reborn"](name="reborn", form="code", scope="agent")
