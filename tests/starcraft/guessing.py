"""``env=guessing``: the games of ``numpy_games`` as an environment of the trainer.

    python tests/starcraft/guessing.py env=guessing ...
    python tests/starcraft/guessing.py evaluate RUN ...

are ``python -m knife_jax.train`` and ``python -m knife_jax.evaluate`` that know it.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from knife_jax.config.env import Entry, EnvConfig, SequenceConfig
from knife_jax.config.environments import ENVS
from knife_jax.config.schema import choice

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@dataclass(frozen=True, kw_only=True)
class GuessingConfig(EnvConfig):
    name: Annotated[str, choice("guessing"), "label"] = "guessing"
    settings: Annotated[str, "of the games, JSON"] = "{}"


@dataclass(frozen=True, kw_only=True)
class GuessingSequenceConfig(SequenceConfig):
    name: Annotated[str, choice("seq_guessing"), "label"] = "seq_guessing"
    settings: Annotated[str, "of the games, JSON"] = "{}"


def make(settings="{}", n_tasks=1, task_seed=0):
    from numpy_games import SIZES

    from knife_jax.envs.base import EnvSpec
    from knife_jax.envs.smacv2.games import Games
    from knife_jax.envs.smacv2.make import tasks_of

    told = {"path": [str(HERE)], **json.loads(settings)}
    spec = EnvSpec("guessing", *SIZES[:4], horizon=SIZES.horizon, has_win=True)
    return tasks_of(Games(SIZES, "numpy_games:Guessing", told), spec, n_tasks)


ENVS["guessing"] = Entry(GuessingConfig, "guessing:make")
ENVS["seq_guessing"] = Entry(GuessingSequenceConfig, "guessing:make")

if __name__ == "__main__":
    from knife_jax.console.entry import run

    sys.modules["guessing"] = sys.modules["__main__"]
    if sys.argv[1:2] == ["evaluate"]:
        del sys.argv[1]
        run("knife_jax.cli.evaluate")
    else:
        sys.argv += ["--config-dir", str(HERE / "configs")]
        run("knife_jax.cli.launch")
