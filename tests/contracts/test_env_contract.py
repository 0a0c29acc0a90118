"""Environments that break their contract are refused by name, as early as it can be seen."""

import json
from dataclasses import replace
from functools import partial

import jax.numpy as jnp
import pytest
from broken_environments import THREE, changed
from ladder.environments import ENDLESS
from tiny import tiny_config

from knife_jax.builders import program as build
from knife_jax.config.run import LoggerConfig
from knife_jax.envs.base import vectorise
from knife_jax.envs.contract import ContractError
from knife_jax.envs.tasks import single
from knife_jax.host.loop import train
from knife_jax.records.lines import read_records

pytestmark = pytest.mark.usefixtures("networks_at_once")

BROKEN = {
    "episodes that were not over after spec.horizon=3 transitions": changed(
        ENDLESS.env, spec={"horizon": 3}
    ),
    "time steps in which an agent has no available action": changed(
        THREE, avail_actions=lambda row: row.avail_actions.at[1].set(row.obs[0, 1] == 0)
    ),
    "rewards that are not finite": changed(
        THREE, reward=lambda row: jnp.where(row.first, 0, row.reward / 0)
    ),
    "time steps with an observation or a state that is not finite": changed(
        THREE, state=lambda row: row.state * jnp.inf
    ),
    "time steps that are marked as the first of an episode": changed(
        THREE, first=lambda row: jnp.ones((), bool)
    ),
    "first time steps with a reward": changed(THREE, reward=lambda row: row.reward + 1),
    "time steps both terminated and truncated": changed(THREE, truncated=lambda row: row.last),
    "won before the episode's end": changed(THREE, won=lambda row: ~row.first),
    "avail_actions of reset is bool [7, 2, 1], must be bool [7, 2, 3]": changed(
        THREE, avail_actions=lambda row: row.avail_actions[:, :1]
    ),
    "won of reset is int32 [7], must be bool [7]": changed(THREE, won=lambda row: 1 * row.won),
}


@pytest.mark.parametrize("text", BROKEN)
def test_building_in_a_broken_environment_raises_by_name(text):
    name = BROKEN[text].spec.name
    with pytest.raises(ContractError) as raised:
        build.build_in(partial(vectorise, BROKEN[text]), tiny_config())
    line = str(raised.value)
    assert line.startswith(f"environment {name!r} breaks its contract: ") and text in line
    assert "\n" not in line


def test_a_run_ends_at_the_first_chunk_in_one_line(tmp_path, monkeypatch, capsys):
    """Rewards that are not finite are not taken for a seed that diverged."""
    env = changed(
        ENDLESS.env,
        spec={"horizon": 3},
        avail_actions=lambda row: row.avail_actions & (row.obs[0, 0] > 1),
        reward=lambda row: row.reward * jnp.where(row.first, 1, jnp.inf),
    )
    monkeypatch.setattr(build, "make_tasks", lambda config, seeds: single(partial(vectorise, env)))
    config = replace(
        tiny_config(mixer="vdn", data="episodes"),
        run_dir=str(tmp_path),
        logger=LoggerConfig(wandb="disabled", table=False),
        devices=1,
    )
    assert train(config) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: environment 'endless' breaks its contract: ")
    assert "episodes that were not over after spec.horizon=3 transitions" in line
    assert "time steps in which an agent has no available action" in line
    assert "rewards that are not finite" in line and "diverged" not in line
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "failed"
    assert read_records(tmp_path / "metrics.jsonl") == []
