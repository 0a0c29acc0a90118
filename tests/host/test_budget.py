"""The budget of a run: met to within a round, scheduled by what is trained, of any size."""

import json
from dataclasses import replace
from pathlib import Path

import fake_program
import numpy as np
import pytest
from ladder.environments import MEMORY

from knife_jax.builders.trainer import make_trainer
from knife_jax.cli import compose
from knife_jax.clock import Clock
from knife_jax.envs.base import vectorise
from knife_jax.host.loop import train
from knife_jax.host.prospects import prospects
from knife_jax.records.checkpoint import Checkpoints
from knife_jax.records.lines import read_records
from knife_jax.training.budget import Budget
from knife_jax.training.chunk import MAX_ROUNDS

pytestmark = pytest.mark.xdist_group("budget")  # they share a run

ROOT = Path(__file__).parents[2]
WORDS = """
+env=seq_matrix preset=fast algo=vdn_knife env.n_envs=8 env.steps_per_task=300
algo.hidden=8 algo.window=4
algo.batch_size=8 algo.buffer_size=64 algo.learning_starts=64 algo.updates_per_round=3
algo.epsilon_steps=640 plasticity.interval=300_000_051 plasticity.at_task_switch=false
log_every=400 evaluation.every=1_000_000_000_000 evaluation.episodes=8
probes.every=0
recording.episodes=0 checkpoint.every=0 logger.wandb=disabled logger.table=false devices=1
"""
ROUND = 32
EPSILON = [1 - 0.95 * steps / 640 for steps in (320, 96, 288, 192, 320, 96)]
"""at the rows: it starts anew with each task"""
FAR = 3_000_000_000


@pytest.fixture(scope="session")
def launch(forks):
    return lambda *words: forks.run(["python", "-m", "knife_jax.train", *words], ROOT)


def of_kind(run: Path, kind: str) -> list[dict]:
    return [row for row in read_records(run / "metrics.jsonl") if row["kind"] == kind]


def summary(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


@pytest.fixture(scope="module")
def trained(launch, tmp_path_factory):
    """1000 steps in tasks of 300, with rows every 400, in rounds of 32."""
    run = tmp_path_factory.mktemp("budget") / "run"
    return run, launch(*WORDS.split(), "env_steps=1000", f"run_dir={run}")


def test_budget_rows_and_tasks_are_where_they_are_asked_for_to_within_a_round(trained):
    run, process = trained
    assert process.returncode == 0, process.stderr
    rows = of_kind(run, "train")
    at = [(row["env_steps"], row["task"]) for row in rows]
    assert at == [(320, 0), (416, 1), (608, 1), (800, 2), (928, 2), (1024, 3)]
    evaluated = sorted({row["env_steps"] for row in of_kind(run, "eval")})
    assert evaluated == [320, 608, 928, 1024]  # where a task ends, and the budget
    assert summary(run)["env_steps"] == 1024
    assert [row["epsilon"] for row in rows] == pytest.approx(EPSILON)


def test_the_learning_rate_reaches_0_at_the_last_gradient_step_alone(trained):
    run, _ = trained
    rows, lr = of_kind(run, "train"), compose(WORDS.split()).algo.lr
    n = summary(run)["updates"]
    assert n == 31 * 3  # 64 steps are two rounds: the first one is not learnt from
    expected = [lr * (1 - (row["updates"] - 1) / (n - 1)) for row in rows]
    assert [row["learning_rate"] for row in rows] == pytest.approx(expected, rel=1e-5)
    assert rows[-1]["learning_rate"] == 0 < rows[-2]["learning_rate"]


def test_a_method_without_a_moment_is_named_before_the_run(trained):
    (line,) = trained[1].stderr.splitlines()
    assert line == (
        "warning: plasticity.interval=300000051 gives no moment within env_steps=1000, and "
        "plasticity.at_task_switch=false none either: knife never acts"
    )


def test_training_goes_on_beyond_32_bits(trained, launch, tmp_path):
    """From the same checkpoint, as if it had been written after three billion steps."""
    stored = Checkpoints(trained[0] / "checkpoints")
    about = stored.about(1024)
    arrays = dict(stored.arrays(1024, about))
    rounds = FAR // ROUND
    moved = {"clock/rounds": rounds, "clock/replay_since": rounds - 100}
    arrays |= {name: np.array(value, np.int32) for name, value in moved.items()}
    about = {name: about[name] for name in ("config", "versions", "mesh", "progress")}
    about["progress"] = {**about["progress"], "env_steps": FAR, "evaluated": FAR}
    far = Checkpoints(tmp_path / "far" / "checkpoints")
    far.save(FAR, arrays, about)
    far.close()
    run = tmp_path / "on"
    end = f"env_steps={FAR + 1024}"
    process = launch(*WORDS.split(), end, f"run_dir={run}", f"resume={tmp_path / 'far'}")
    assert process.returncode == 0, process.stderr
    rows = [row for row in of_kind(run, "train") if row["env_steps"] > FAR]
    at = [(row["env_steps"] - FAR, row["task"] - FAR // 300) for row in rows]
    assert at == [(320, 0), (416, 1), (608, 1), (800, 2), (928, 2), (1024, 3)]
    assert [row["epsilon"] for row in rows] == pytest.approx(EPSILON)
    surgeries = [row["env_steps"] - FAR for row in of_kind(run, "surgery")]
    assert surgeries == [512]  # the tenth multiple of 300,000,051 is 510 steps on
    assert rows[-1]["learning_rate"] == 0 < rows[-2]["learning_rate"]
    told = summary(run)
    assert told["status"] == "complete" and told["env_steps"] == FAR + 1024
    assert told["updates"] == 31 * 3 + 32 * 3


@pytest.mark.parametrize(
    ("word", "line"),
    [
        (
            "env_steps=1e14",
            "env_steps=100000000000000 is refused: must be at most 22906492256, since rounds of "
            "32 env steps and gradient steps are counted up to 2147483646",
        ),
        (
            "seed=2_147_483_647 num_seeds=2 env_steps=1000",
            "seed=2147483647 num_seeds=2 is refused: the last seed would be 2147483648, must be "
            "at most 2147483647",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused_before_compiling(word, line, launch, tmp_path):
    process = launch(*WORDS.split(), *word.split(), f"run_dir={tmp_path / 'run'}")
    assert process.returncode == 2
    assert process.stderr == f"error: {line}\n"


def test_a_run_without_a_gradient_step_says_so_before_and_after(tmp_path, monkeypatch, capsys):
    config = fake_program.config(run_dir=str(tmp_path))
    fake_program.install(monkeypatch)
    monkeypatch.setattr(fake_program, "UPDATES", 0)
    algo = replace(config.algo, learning_starts=5000)
    assert train(replace(config, algo=algo)) == 0
    out, err = capsys.readouterr()
    assert err == (
        "warning: algo.learning_starts=5000 is not reached with 1,000 env steps to go "
        "(env_steps=1000): no gradient step is made, nothing is learnt\n"
    )
    assert "no gradient step was made: nothing was learnt\n" in out


LEARNT = Budget(round_steps=32, rounds=32, waits=2, updates=3)  # 1024 steps


@pytest.mark.parametrize(
    ("words", "budget", "line"),
    [
        ("algo=qmix_knife plasticity.interval=1000", LEARNT, "window=200 is more than the 93"),
        ("algo=qmix_knife plasticity.interval=1000 plasticity.window=93", LEARNT, None),
        ("algo=qmix_redo plasticity.interval=1025", LEARNT, "interval=1025 gives no moment"),
        ("algo=qmix_fresh_per_task", LEARNT, "interval=0 gives no moment"),
        ("algo=qmix_plasticity_injection plasticity.at=32", LEARNT, "at=32 is not after"),
        ("algo=qmix_plasticity_injection plasticity.at=33", LEARNT, None),
        ("algo=qmix_plasticity_injection plasticity.at=1024", LEARNT, None),
        ("algo=qmix_plasticity_injection plasticity.at=1025", LEARNT, "at=1025 is not after"),
        ("algo=qmix_cbp plasticity.maturity=94", LEARNT, "maturity=94 is more than the 93"),
        ("algo=qmix", LEARNT, None),
        ("algo=qmix", LEARNT._replace(waits=33), "learning_starts=10000 is not reached with 1,024"),
        (
            "+env=seq_matrix preset=fast algo=qmix env.steps_per_task=320",
            LEARNT._replace(waits=11, task_steps=320, clear_replay=True),
            "learning_starts=10000 is not reached in any task, since env.clear_replay=true",
        ),
        (
            "+env=seq_matrix algo=qmix env.steps_per_task=10",
            LEARNT._replace(task_steps=10),
            "env.steps_per_task=10 is less than a round of 32 env steps: each task takes one round",
        ),
    ],
)
def test_what_will_not_happen_is_told_ahead(words, budget, line):
    told = prospects(budget, compose([*words.split(), "env_steps=1024"]), Clock.zero())
    assert len(told) == (line is not None)
    assert line is None or line in told[0]


def test_a_chunk_is_bounded_however_rare_rows_are():
    """It holds what each round has seen, and signals wait for its end."""
    config = compose([*WORDS.split(), "env_steps=1e10"])
    trainer = make_trainer(replace(config, log_every=10**10), vectorise(MEMORY.env, 8))
    assert trainer.most_rounds == MAX_ROUNDS
