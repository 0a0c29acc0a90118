"""JaxMARL's own ``qmix_rnn.py`` from a checkout, cut open between two update rounds."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from settings import Settings

SCRIPT = Path("baselines/QLearning/qmix_rnn.py")
SHIPPED = '1 - minibatch.dones["__all__"][:-1]'
FIXED = '1 - minibatch.dones["__all__"][1:]'


class _Namespace:
    """Another module with some of its names replaced."""

    def __init__(self, module: Any, **replaced: Any):
        self.__dict__.update(replaced)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class Checkout(NamedTuple):
    init: Any  # key -> runner state
    round: Any  # runner state -> runner state, jit-able
    commit: str
    note: str


def commit_of(root: Path) -> str:
    """The commit of the checkout, "unknown" if it is not a git work tree."""
    answer = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"


def _source(root: Path) -> tuple[str, str]:
    path = root / SCRIPT
    if not path.is_file():
        sys.exit(f"--jaxmarl: {path} does not exist; give the root of a checkout of JaxMARL")
    text = path.read_text()
    if text.count(SHIPPED) == 1:
        return text.replace(SHIPPED, FIXED), "done flag of the target put right in memory"
    if FIXED in text:
        return text, "as it is (its target uses the right done flag)"
    sys.exit(f"--jaxmarl: the target's done flag was not found in {path}; is it another version?")


def load(root: Path, env: Any, settings: Settings) -> Checkout:
    """Its learner and loop on ``env``, evaluation and logging off.

    The script runs all rounds in one scan. Here that scan is kept from running, so that its body
    and its first carry can be had and timed in jitted pieces.
    """
    text, note = _source(root)
    kept = {}

    def scan(body, init, *args, **kwargs):
        if getattr(body, "__name__", "") != "_update_step":
            return jax.lax.scan(body, init, *args, **kwargs)
        kept["round"] = body
        return init, None

    module = types.ModuleType("jaxmarl_qmix_rnn")
    module.__file__ = str(root / SCRIPT)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(text, module.__file__, "exec"), module.__dict__)
    except ImportError as error:
        sys.exit(f"--jaxmarl: the script needs {error.name!r}, which is not installed")
    module.__dict__["jax"] = _Namespace(jax, lax=_Namespace(jax.lax, scan=scan))

    def init(key):
        train = module.make_train(_config(settings), env)
        runner = train(key)["runner_state"]
        return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), runner)

    def round_(runner):
        return kept["round"](runner, None)[0]

    return Checkout(init, round_, commit_of(root), note)


def _config(s: Settings) -> dict[str, Any]:
    return {
        "TOTAL_TIMESTEPS": s.total_rounds * s.steps_per_round,
        "NUM_ENVS": s.n_envs,
        "NUM_STEPS": s.window,
        "BUFFER_SIZE": s.buffer_windows,
        "BUFFER_BATCH_SIZE": s.batch,
        "HIDDEN_SIZE": s.hidden,
        "MIXER_EMBEDDING_DIM": s.embed,
        "MIXER_HYPERNET_HIDDEN_DIM": s.hyper_hidden,
        "MIXER_INIT_SCALE": s.mixer_init_scale,
        "EPS_START": 1.0,
        "EPS_FINISH": 0.05,
        "EPS_DECAY": s.epsilon_share,
        "MAX_GRAD_NORM": s.grad_clip,
        "TARGET_UPDATE_INTERVAL": s.target_period,
        "TAU": 1.0,
        "NUM_EPOCHS": s.learner_steps,
        "LR": s.lr,
        "LEARNING_STARTS": 0,
        "GAMMA": s.gamma,
        "REW_SCALE": s.reward_scale,
        "TEST_DURING_TRAINING": False,
        "TEST_NUM_ENVS": s.n_envs,
        "WANDB_MODE": "disabled",
    }
