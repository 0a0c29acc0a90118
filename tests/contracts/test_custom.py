"""``env=custom``: an environment of the user's own is checked before anything is compiled."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from broken_environments import THREE
from tiny import tiny_config

from knife_jax.builders import program
from knife_jax.config.custom import CustomConfig
from knife_jax.config.run import LoggerConfig
from knife_jax.config.schema import ConfigError
from knife_jax.envs.check import N_ENVS, check
from knife_jax.host.loop import train
from knife_jax.host.resume import resume_warnings
from knife_jax.host.stored import Checkpoint
from knife_jax.records.versions import versions

WHOLE = "must be a whole number, at least 1"
KEPT = "must not change"
BROKEN = {
    "a_dictionary": "it returns a value of type dict, must return an Env",
    "fails_to_be_made": "it raises IndexError: list index out of range "
    "(broken_environments.py, line 41)",
    "without_step": "step is no function",
    "without_spec": "spec is of type dict, must be an EnvSpec",
    "reward_per_agent": "reward of reset is float32 [2], must be float [], "
    "reward of step is float32 [2]",
    "whole_observations": "obs of reset is int32 [2, 3], must be float [2, 3]",
    "actions_left_out": "avail_actions of reset is bool [2, 2], must be bool [2, 3]",
    "actions_as_numbers": "avail_actions of reset is float32 [2, 3], must be bool [2, 3]",
    "state_of_another_size": "state of reset is float32 [5], must be float [6]",
    "seen_as_a_dictionary": "obs of reset is of type dict, must be float [2, 3]",
    "seen_as_text": "reset returns obs of type str, must be an array or a number",
    "state_with_text": "step returns a state.time of type str, must be an array or a number",
    "exits": "it raises SystemExit: bye (broken_environments.py, line ",
    "exits_in_reset": "reset raises SystemExit: 3 (broken_environments.py, line ",
    "batched": "obs of reset is float32 [1, 2, 3], must be float [2, 3]",
    "state_alone": "reset returns a value of type ShapeDtypeStruct, must be (state, TimeStep)",
    "no_time_step": "reset returns (state, dict), must be (state, TimeStep)",
    "too_few_arguments": "step raises TypeError: ",
    "misspelt": "step raises AttributeError: 'Play' object has no attribute 'tiem' "
    "(broken_environments.py, line ",
    "branches": "step needs the number in an array before there is one (if, while, int(), NumPy, "
    "...) (broken_environments.py, line ",
    "computes_outside": "step needs the number in an array before there is one",
    "state_of_another_type": f"state.time is int32 [] from reset and float32 [] from step, {KEPT}",
    "state_that_grows": f"state.drawn is float32 [] from reset and float32 [5] from step, {KEPT}",
    "state_of_another_structure": "have another structure, must not change: state.drawn is in one",
    "counts": "step is not a pure function",
    "draws_without_a_key": "is not a pure function",
    "keeps_an_array": "(does it count, keep arrays, or draw numbers without its key?)",
    "keeps_the_start": "uses an array that an earlier call has kept (in self or a global) "
    "(broken_environments.py, line ",
    "never_ends": "8 episodes that were not over after spec.horizon=3 transitions",
    "nothing_to_do": "time steps in which an agent has no available action",
    "endless_reward": "rewards that are not finite",
    "unseen": "time steps with an observation or a state that is not finite",
    "always_first": "time steps that are marked as the first of an episode and are not",
    "paid_at_once": "first time steps with a reward",
    "ends_twice": "time steps both terminated and truncated",
    "won_unawares": "episodes are won, but spec.has_win is False",
    "drawn_outside": "equal keys and actions lead to different steps",
    "alone_outside": "a batch of 8 environments raises NotImplementedError",
    "mixed_outside": "environments in a batch play another game than one alone",
}
REFUSED = {
    "nowhere:make": "there is no module 'nowhere' in the working directory or among what is",
    "broken_environments.inner:make": "there is no module 'broken_environments.inner'",
    "broken_environments:countss": "broken_environments has no 'countss'; did you mean 'counts'?",
    "broken_environments:jnp": "it is of type module, must be a function that returns an Env",
    "fails_at_import:make": "importing fails_at_import raises ZeroDivisionError: division by zero "
    "(fails_at_import.py, line 2)",
    "lacks_a_package:make": "importing lacks_a_package raises ModuleNotFoundError: No module named "
    "'no_such_package'",
}


def config_of(target, **args):
    logger = LoggerConfig(wandb="disabled", table=False)
    return replace(
        tiny_config(), env=CustomConfig(n_envs=7, target=target, args=args), logger=logger
    )


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """Trains, and returns the line with which it is refused before a trainer is made."""

    def no_trainer(*_):
        raise AssertionError("the training chunk was built")

    monkeypatch.setattr(program, "make_trainer", no_trainer)
    monkeypatch.chdir(tmp_path)

    def line_of(config):
        assert train(replace(config, run_dir="run", devices=1)) == 2
        said = capsys.readouterr()
        (line,) = said.err.splitlines()
        assert line.startswith("error: ") and said.out == ""
        assert not (tmp_path / "run" / "config.yaml").exists()
        return line.removeprefix("error: ")

    return line_of


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_environment_is_refused_in_one_line(name, refused):
    target = f"broken_environments:{name}"
    line = refused(config_of(target))
    assert line.startswith(f"env.target={target} is refused: ") and BROKEN[name] in line


@pytest.mark.parametrize("field", ["n_agents", "n_actions", "obs_size", "state_size", "horizon"])
@pytest.mark.parametrize("size", [0, 2.5])
def test_sizes_are_whole_and_positive(field, size):
    with pytest.raises(ConfigError, match=f"spec.{field}={size} {WHOLE}"):
        program.build(config_of("broken_environments:sized", **{field: size}))


@pytest.mark.parametrize("target", REFUSED)
def test_what_is_no_function_of_a_module_is_refused(target, refused, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fails_at_import.py").write_text("\n1 / 0\n")
    (tmp_path / "lacks_a_package.py").write_text("import no_such_package\n")
    line = refused(config_of(target))
    assert line.startswith(f"env.target={target} is refused: ") and REFUSED[target] in line


def test_arguments_that_the_function_does_not_take_or_lacks(refused):
    target = "broken_environments:needs_size"
    assert refused(config_of(target, size=2, sise=3)) == (
        f"env.args.sise=3 is refused: {target} takes size; did you mean 'size'?"
    )
    assert refused(config_of(target)) == f"env.args.size is not set: {target} needs it"
    with pytest.raises(ConfigError, match=r"'size': nan.* is refused: .*\(nan and inf are none\)"):
        config_of(target, size=math.nan)
    assert refused(config_of(None)) == "env.target is not set: write env.target=my_module:make"


def test_what_a_check_finds():
    played = check(THREE).played
    assert not any(played.breaches.values())
    assert played.last.shape == (4, N_ENVS)  # the horizon of three, and the step after it
    assert played.last.tolist() == [[False] * 8, [False] * 8, [True] * 8, [False] * 8]
    assert np.unique(played.returns[played.last]).tolist() == [1.0]
    assert np.unique(played.lengths[played.last]).tolist() == [3]
    assert played.seen[0].tolist() == [4.0] * 8  # two agents and the state see one one-hot each


def test_other_code_than_that_of_the_checkpoint_is_warned_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_env.py").write_text("a = 1\n")
    before, config = versions("my_env"), config_of("my_env:make")
    assert before["env_code"]["file"] == "my_env.py"
    about = json.loads(json.dumps({"versions": before, "config": {}}))
    found = Checkpoint(500, about, {"state/replay/x": np.zeros(1)})
    assert resume_warnings(found, config, versions("my_env"), 1) == []
    (tmp_path / "my_env.py").write_text("a = 2\n")
    assert resume_warnings(found, config, versions("my_env"), 1) == [
        "the code of the environment, my_env.py, is not what the checkpoint had"
    ]
    assert "env_code" not in versions()
