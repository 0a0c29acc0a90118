"""The trainer with games outside of jax, by the real process: games in NumPy, with faults."""

import json
import os
import re
import signal
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from contracts.test_load import SMALL, store
from test_pool import left, nothing_left, processes

import knife_jax
from knife_jax.config.environments import ENVS

HERE = Path(__file__).parent
WORDS = """
preset=fast algo=vdn algo.hidden=8 algo.window=6 algo.batch_size=8 algo.buffer_size=64
algo.learning_starts=64 algo.updates_per_round=1 log_every=200 evaluation.every=1000
evaluation.episodes=7 games.evaluation=3 games.watchdog=5 probes.every=0
recording.episodes=0 checkpoint.every=200
logger.wandb=disabled logger.table=false
"""


@pytest.fixture
def start(tmp_path, forks):
    """Starts the program with further words; its temporary files are in ``tmp_path``."""
    started = []

    def call(*words, settings=None, own=True):
        env = os.environ | {
            "TMPDIR": str(tmp_path), "PYTHONPATH": str(HERE.parents[1]), "JAX_PLATFORMS": "cpu",
        }  # fmt: skip
        told = [f"env.settings={json.dumps(json.dumps(settings))}"] if settings else []
        command = ["python", str(HERE / "guessing.py"), *WORDS.split() * own, *told, *words]
        started.append(forks.start(command, env=env))
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.wait()


def ended(process):
    """Its exit code, and what it printed."""
    return process.wait(), process.out.read_text(), process.err.read_text()


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows_of(run, kind):
    return [row for row in lines_of(run / "metrics.jsonl") if row["kind"] == kind]


def test_a_run_with_faults_over_two_devices(start, tmp_path):
    """Two seeds, two tasks, evaluations: metrics count what the games' own log says, and
    ``evaluate`` plays the final evaluation again."""
    run, settings = tmp_path / "run", {"faults": 0.01, "kinds": ["raise", "exit", "kill"]}
    words = ["env=seq_guessing", "num_seeds=2", "devices=2", "env_steps=600", f"run_dir={run}"]
    code, _, err = ended(start(*words, settings=settings))
    assert (code, err) == (0, ""), err
    assert json.loads((run / "summary.json").read_text())["mesh"] == {"seed": 2, "data": 1}
    rows, log = rows_of(run, "train"), lines_of(run / "games.jsonl")
    events = Counter((e["group"], e["seat"], e["event"]) for e in log)
    for seed in range(2):
        mine = [row for row in rows if row["seed"] == seed]
        broken = events["training", seed, "broken"] + events["training", seed, "switched"]
        expected = {
            "faults": events["training", seed, "fault"], "broken": broken,
            "restarted": events["training", seed, "restarted"], "recycled": 0,
        }  # fmt: skip
        for name, n in expected.items():
            assert sum(row[f"games_{name}"] for row in mine) == n
        assert expected["faults"] > 0 and events["training", seed, "switched"] > 0
        assert all(row["games_step_ms"] > 0 for row in mine)
        assert np.isfinite([row["loss"] for row in mine if row["loss"] is not None]).all()
    played = rows_of(run, "eval")
    lost = events["evaluation", 0, "broken"]
    assert lost > 0 and lost >= sum(row.get("games_broken", 0) for row in played)
    assert all(row["episodes"] + row.get("games_broken", 0) == 7 for row in played)
    assert nothing_left(tmp_path)
    code, told, err = ended(start("evaluate", str(run), own=False))
    assert code == 0, err
    finals = json.loads((run / "summary.json").read_text())["final_return"]
    for seed, returned in enumerate(finals):
        assert re.search(rf"\| +{seed} +\| +{returned:.3g}", told), told
    assert nothing_left(tmp_path)


def test_games_that_give_up_end_the_run_and_it_is_resumed(start, tmp_path):
    """No game can be started any more; once it can, the run goes on with other scenarios."""
    run, missing = tmp_path / "run", tmp_path / "missing"
    settings = {"missing": str(missing)}
    words = ["env=guessing", f"run_dir={run}", "resume=auto"]
    process = start(*words, "env_steps=1000000", settings=settings)
    while not (run / "checkpoints").is_dir() or len([*(run / "checkpoints").iterdir()]) < 2:
        assert process.poll() is None, ended(process)
        time.sleep(0.05)
    assert left(tmp_path)[0] >= 3
    missing.touch()
    os.kill(processes(tmp_path, b"\0worker\0")[0], signal.SIGKILL)
    code, _, err = ended(process)
    assert code == 1 and nothing_left(tmp_path)
    assert re.fullmatch(
        r"error: the games gave up: game \d of seat 0 was started 7 times without ending an "
        r"episode, the last time: FileNotFoundError: no game\n", err,
    )  # fmt: skip
    summary = json.loads((run / "summary.json").read_text())
    newest = max(int(path.name) for path in (run / "checkpoints").glob("[0-9]*[0-9]"))
    assert summary["status"] == "failed" and 0 < summary["checkpoint"] <= newest
    missing.unlink()
    code, out, err = ended(start(*words, f"env_steps={newest + 100}", settings=settings))
    assert code == 0, err
    assert err.splitlines()[-1] == (
        "warning: games cannot be stored: new episodes begin, with scenarios of their own"
    )
    assert f"going on from checkpoint {newest:,} " in out


def test_a_loaded_policy_plays_the_same_games_again(tmp_path):
    known = {**ENVS}
    import_module("guessing")
    try:
        config = knife_jax.compose(
            "env=seq_guessing",
            *SMALL,
            "algo=vdn",
            "games.evaluation=3",
            config_dir=HERE / "configs",
        )
        expected, _ = store(tmp_path / "run", config)
        assert knife_jax.load(tmp_path / "run").evaluate().records == expected
    finally:
        for name in ENVS.keys() - known.keys():
            del ENVS[name]
    assert len(expected) == 4 and nothing_left(tmp_path)
