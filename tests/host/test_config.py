"""The configuration: every file composes, presets say what the papers' code says, checks hold."""

import dataclasses
import functools
import itertools
import re
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from knife_jax.cli import compose, configs_dir, options
from knife_jax.config.algo import AlgoConfig
from knife_jax.config.environments import PredatorPreyConfig, SmaxConfig
from knife_jax.config.grafting import KnifeConfig
from knife_jax.config.methods import PLASTICITIES
from knife_jax.config.mixers import MIXERS
from knife_jax.config.plain import defaults, from_dict, to_dict
from knife_jax.config.run import LoggerConfig
from knife_jax.config.scenarios import N_PREDATORS, SMAX_SCENARIOS
from knife_jax.config.schema import ConfigError

STEMS = {group: [file.stem for file in options(group)] for group in ("env", "algo", "preset")}
PLASTICITY = [file.stem for file in options("plasticity")]
EXPERIMENTS = [file.stem for file in options("experiment")]
PAIRS = itertools.product(enumerate(STEMS["env"]), enumerate(STEMS["preset"]))
COMBINATIONS = [(env, preset) for (i, env), (j, preset) in PAIRS if (i + j) % 3 == 0]
LOGGERS = itertools.cycle(("local", "wandb", "wandb", "local", "local"))
JOBS = list(zip(COMBINATIONS, itertools.cycle(STEMS["algo"]), LOGGERS, strict=False))


@functools.cache
def composed(*words):
    """A configuration that several tests look at."""
    return compose([*words])


def test_the_groups_are_those_promised():
    assert STEMS["env"] == [
        "custom", "grid_predator_prey", "jaxmarl", "matrix_game", "mpe_predator_prey",
        "seq_grid_predator_prey", "seq_matrix", "seq_mpe_predator_prey", "seq_smacv2", "seq_smax",
        "smacv2", "smax",
    ]  # fmt: skip
    assert STEMS["algo"] == sorted(MIXERS)
    assert STEMS["preset"] == [
        "continual", "fast", "jaxmarl", "jaxmarl_mpe", "pqn", "pqn_jaxmarl", "pymarl", "pymarl2",
    ]  # fmt: skip
    assert {method.__name__ for method in PLASTICITIES.values()} == {
        type(compose([f"plasticity={name}"]).plasticity).__name__ for name in PLASTICITY
    }
    assert [file.stem for file in options("logger")] == ["local", "tensorboard", "wandb"]
    assert EXPERIMENTS == [
        "matrix_sequence", "matrix_shared", "predator_prey_sequence", "smax_sequence",
    ]  # fmt: skip


@pytest.mark.parametrize(("names", "algo", "logger"), JOBS)
def test_a_third_of_all_combinations_compose_and_survive_a_round_trip(names, algo, logger):
    env, preset = names
    words = [f"env={env}", f"algo={algo}", f"preset={preset}", f"logger={logger}"]
    config = compose([*words, "games.limit=800"])  # presets are for environments of any number
    names = (config.env.name, config.algo.name, config.algo.preset, config.logger.name)
    assert names == (env, algo, preset, logger)
    modes = {"local": "offline", "tensorboard": "disabled", "wandb": "online"}
    assert config.logger.wandb == modes[logger]
    assert from_dict(to_dict(config)) == config


def test_the_default_is_the_main_job():
    config = compose()
    assert (config.env.name, config.algo.name, config.algo.preset) == ("smax", "qmix_knife", "fast")
    assert (config.seed, config.num_seeds, config.run_dir) == (0, 1, None)
    assert config.evaluation.episodes >= 128


@pytest.mark.parametrize(
    ("words", "method", "select"),
    [
        ("algo=qmix", "none", None),
        ("algo=qmix_knife", "knife", "stagnant"),
        ("algo=qmix_knife_random", "knife", "random"),
        ("algo=qmix_knife_recycle_active", "knife", "active"),
        ("algo=qmix_redo", "redo", None),
        ("algo=qmix_knife plasticity=none", "none", None),
        ("plasticity=knife algo=qmix", "knife", "stagnant"),
    ],
)
def test_the_algorithm_chooses_the_surgery_unless_the_command_line_does(words, method, select):
    plasticity = compose(words.split()).plasticity
    assert (plasticity.method, getattr(plasticity, "select", None)) == (method, select)


@pytest.mark.parametrize("name", sorted({*PLASTICITY} - {"none"}))
def test_every_method_is_a_group_option_and_part_of_an_algorithm(name):
    """One file makes ``plasticity=NAME`` and ``algo=qmix_NAME``, and the fields are its own."""
    alone, named = compose(["algo=qmix", f"plasticity={name}"]), composed(f"algo=qmix_{name}")
    assert alone.plasticity == named.plasticity and named.plasticity.name == name
    assert named.algo == dataclasses.replace(alone.algo, name=f"qmix_{name}")
    assert from_dict(to_dict(named)) == named
    fields = set(to_dict(named)["plasticity"])
    for field in {"threshold", "slots", "share", "scope"} - fields:
        with pytest.raises(ConfigError, match=f"unknown key 'plasticity.{field}'"):
            compose(["algo=qmix", f"plasticity={name}", f"plasticity.{field}=0.5"])


@pytest.mark.parametrize("file", options("plasticity"), ids=lambda file: file.stem)
def test_a_methods_file_says_only_what_differs_from_its_section(file):
    """A default stands once, in the section: the factory takes it from there."""
    values = yaml.safe_load(file.read_text())
    values = values.get("plasticity", values)
    inherited = "knife" if file.stem.startswith("knife_") else None
    assert ("defaults" in values) == (inherited is not None)
    values.pop("defaults", None)
    section = PLASTICITIES[inherited or values["method"]]
    for name in {*values} - {"name", "method"}:
        assert values[name] != getattr(section, name, None), name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_fixes_all_but_the_method(name):
    plain = compose([f"+experiment={name}"])
    assert (plain.experiment.name, plain.algo.name, plain.algo.preset) == (
        name,
        "qmix",
        "continual",
    )
    assert plain == compose([f"experiment={name}"]) and plain.plasticity.method == "none"
    assert plain.num_seeds >= 10 and plain.env_steps >= plain.env.n_tasks * plain.env.steps_per_task
    methods = plain.experiment.methods.split(",")
    assert {*methods} <= {*PLASTICITY} and len({*methods}) == len(methods) >= 6
    for method in {*methods} - {"none"}:
        config = composed(f"experiment={name}", f"algo=qmix_{method}")
        assert config.plasticity.name == method
        same = dataclasses.replace(config, algo=plain.algo, plasticity=plain.plasticity)
        assert same == plain


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_an_experiment_tells_a_method_is_told_to_no_other(name):
    own = {file.stem for file in (configs_dir() / "experiment" / name).glob("*.yaml")}
    assert own >= {"redo", "knife"}
    for method in (*own, "none", "knife", "l2_init"):
        algo = "algo=qmix" if method == "none" else f"algo=qmix_{method}"
        told, alone = composed(f"experiment={name}", algo), composed(algo)
        assert (told.plasticity == alone.plasticity) == (method not in own), method
    words = [f"experiment={name}", "algo=qmix_redo"]
    assert compose(words).plasticity.interval == compose(words).env.steps_per_task
    assert compose([*words, "plasticity.interval=7", "preset=fast"]).plasticity.interval == 7
    assert compose([*words, "preset=fast"]).algo.preset == "fast"
    control = composed(f"experiment={name}", "algo=qmix_knife_random").plasticity
    treated = composed(f"experiment={name}", "algo=qmix_knife").plasticity
    assert dataclasses.replace(control, name="knife", select="stagnant") == treated


def test_the_control_differs_in_the_selection_alone():
    treated, control = composed("algo=qmix_knife"), composed("algo=qmix_knife_random")
    renamed = dataclasses.replace(control.algo, name="qmix_knife")
    selected = dataclasses.replace(control.plasticity, name="knife", select="stagnant")
    assert dataclasses.replace(control, algo=renamed, plasticity=selected) == treated


PRESETS = {
    "pymarl": dict(
        n_envs=1, hidden=64, embed=32, hyper_hidden=64, init="torch", agent_id=True,
        last_action=True, optimiser="rmsprop", lr=5e-4, lr_decay=False, eps=1e-5, grad_clip=10,
        gamma=0.99, td_lambda=0, data="episodes", batch_size=32, buffer_size=5000,
        updates_per_round=1, target_period=200, tau=1, epsilon_end=0.05, epsilon_steps=50_000,
    ),
    "pymarl2": dict(
        n_envs=8, hidden=64, embed=32, hyper_hidden=64, init="torch", agent_id=True,
        # their loss is half of ours, so eps 1e-8 and clipping at 10 are 2e-8 and 20 here
        last_action=True, optimiser="adam", lr=1e-3, lr_decay=False, eps=2e-8, grad_clip=20,
        gamma=0.99, td_lambda=0.6, data="episodes", batch_size=128, buffer_size=5000,
        updates_per_round=1, target_period=200 // 8, tau=1, epsilon_end=0.05,
        epsilon_steps=100_000,
    ),
    "jaxmarl": dict(
        n_envs=16, hidden=512, embed=64, hyper_hidden=256, init="orthogonal", agent_id=True,
        last_action=False, hyper_init_scale=0.001, optimiser="radam", lr=5e-5, lr_decay=False,
        grad_clip=10, gamma=0.99, td_lambda=0, data="windows", window=128, batch_size=32,
        buffer_size=5000, updates_per_round=8, target_period=20_480 // 2048 * 8, tau=1,
        epsilon_end=0.05, epsilon_steps=10_000_000 // 10,
    ),
    "jaxmarl_mpe": dict(
        n_envs=8, hidden=64, embed=32, hyper_hidden=128, init="orthogonal", agent_id=True,
        last_action=False, hyper_init_scale=0.001, optimiser="radam", lr=5e-3, lr_decay=True,
        grad_clip=25, gamma=0.9, td_lambda=0, data="windows", window=26, batch_size=32,
        buffer_size=5000, updates_per_round=1, target_period=41_600 // 208, tau=1,
        epsilon_end=0.05, epsilon_steps=10_000_000 // 10,
    ),
}  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_their_models_numbers(preset):
    config = compose([f"preset={preset}"])
    got = to_dict(config)["algo"] | {"n_envs": config.env.n_envs}
    assert {key: got[key] for key in PRESETS[preset]} == PRESETS[preset]


PUBLISHED = [
    (file.stem, words)
    for file in options("algo")
    for words in re.findall(r"^# (?:as published|in \w+): (.*)$", file.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize(("algo", "command"), PUBLISHED)
def test_what_files_of_algorithms_say_was_published_composes(algo, command):
    words = command.removeprefix("python -m knife_jax.train ").split()
    config = compose(words)
    assert config.algo.name == config.algo.mixer == algo and config.algo.preset != "fast"


def test_the_command_line_wins_over_a_preset():
    config = compose(["env.n_envs=3", "algo.lr=0.5", "preset=pymarl2"])
    assert (config.env.n_envs, config.algo.lr, config.algo.gamma) == (3, 0.5, 0.99)


@pytest.mark.parametrize("scenario", SMAX_SCENARIOS)
def test_scenarios_can_be_typed(scenario):
    assert compose([f"env.scenario={scenario}"]).env == SmaxConfig(
        scenario=scenario, n_envs=compose().env.n_envs
    )


@pytest.mark.parametrize("n", N_PREDATORS)
def test_packs_can_be_typed(n):
    env = compose(["env=mpe_predator_prey", f"env.n_predators={n}"]).env
    assert isinstance(env, PredatorPreyConfig) and env.n_predators == n


def test_a_tiny_budget_is_allowed():
    assert compose(["env_steps=2000"]).env_steps == 2000


def test_numbers_take_the_type_of_their_field():
    config = compose(["env_steps=1e6", "algo.grad_clip=10", "algo.epsilon_steps=50_000"])
    values = (config.env_steps, config.algo.grad_clip, config.algo.epsilon_steps)
    assert values == (1_000_000, 10.0, 50_000)
    assert [type(value) for value in values] == [int, float, int]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", -1), ("seed", 2**31), ("seed", True), ("seed", 0.5), ("num_seeds", 0),
        ("env_steps", 0), ("env_steps", 2**53 + 1), ("log_every", 0), ("run_dir", " "),
        ("run_dir", "../a"), ("run_dir", 3), ("env.n_envs", 0), ("env.scenario", "4m"),
        ("env.scenario", None), ("algo.mixer", "vdn2"), ("algo.lr", 0), ("algo.lr", float("inf")),
        ("algo.gamma", float("nan")), ("algo.gamma", 1.01), ("algo.td_lambda", -0.1),
        ("algo.tau", 0), ("algo.tau", 1.1), ("algo.epsilon_end", 2), ("algo.window", 0),
        ("algo.target_period", 0), ("algo.updates_per_round", 0), ("algo.learning_starts", -1),
        ("algo.agent_id", 1), ("algo.weight_decay", 0.1), ("algo.buffer_size", 1),
        ("algo.optimiser", "sgd"), ("plasticity.cap", 0), ("plasticity.slots", 0),
        ("plasticity.interval", -1), ("plasticity.select", "all"),
        ("plasticity.method", "knifes"), ("logger.wandb", True),
        ("logger.table", None), ("evaluation.episodes", 0), ("evaluation.every", 0),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(key, value):
    values = to_dict(compose())
    section, _, leaf = key.rpartition(".")
    (values[section] if section else values)[leaf] = value
    with pytest.raises(ConfigError) as refused:
        from_dict(values)
    told = str(refused.value)
    refusal = rf"{re.escape(key)}=.* is refused(?: \(did you mean .*\?\))?: must be "
    assert re.match(refusal, told) and "\n" not in told


@given(st.text(), st.integers() | st.text() | st.none())
def test_unknown_keys_are_refused_whatever_they_are(key, value):
    known = {"seed": 0, "env_steps": 1, "log_every": 1, "num_seeds": 1, "run_dir": None}
    algo = dict.fromkeys(f.name for f in dataclasses.fields(AlgoConfig)) | {"mixer": "vdn"}
    values = known | {"env": {"name": "smax", "n_envs": 1}, "algo": algo}
    if key not in algo:
        algo[key] = value
        with pytest.raises(ConfigError, match="unknown key") as refused:
            from_dict(values)
        assert len(str(refused.value).splitlines()) == 1


def test_weight_decay_is_adamw_only():
    assert compose(["algo.weight_decay=0.1", "algo.optimiser=adamw"]).algo.weight_decay == 0.1


def test_sections_are_frozen():
    config = compose()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.algo.lr = 1.0
    assert config.plasticity == KnifeConfig(**to_dict(config)["plasticity"])


def test_what_configuration_files_must_say_is_marked_missing():
    values = defaults()
    assert values["env_steps"] == values["algo"]["lr"] == "???"
    assert values["logger"] == to_dict(compose())["logger"] == dataclasses.asdict(LoggerConfig())


def test_config_needs_no_jax():
    script = "import sys; sys.modules['jax'] = None; import knife_jax.config.run, knife_jax.cli"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
