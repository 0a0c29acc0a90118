"""Read what a run leaves: the learning curve, the surgeries and the forgetting.

    python experiments/examples/read_metrics.py [RUN]

Without RUN a small run is trained first: two matrix games in sequence, two seeds.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import knife_jax
from knife_jax.records.lines import read_records
from knife_jax.report import continual, transfer

WORDS = (
    "+env=seq_matrix", "env.n_tasks=2", "env.steps_per_task=2048", "env.n_envs=8",
    "algo=vdn_knife", "algo.hidden=16", "algo.learning_starts=256", "algo.updates_per_round=8",
    "algo.lr=3e-3",
    "plasticity.window=10", "plasticity.slots=1", "num_seeds=2", "env_steps=4096",
    "evaluation.every=1024", "evaluation.episodes=8", "log_every=1024", "logger.wandb=disabled",
    "logger.table=false", "recording.episodes=0",
)  # fmt: skip


def trained(folder: str) -> Path:
    """Train the small run in a new folder."""
    config = knife_jax.compose(*WORDS, f"run_dir={folder}/run")
    return knife_jax.train(config).dir


def show(run: Path) -> None:
    """Print a few measures of a run from its ``metrics.jsonl``."""
    records = read_records(run / "metrics.jsonl")  # a dict per line: kind, seed, env_steps, values
    for kind in ("train", "surgery", "eval", "probe", "final", "absolute"):
        print(f"records of kind {kind}: {sum(record['kind'] == kind for record in records)}")
    scores = continual.scores(records)  # greedy returns [seeds, tasks, evaluations]
    for seed, curve in zip(scores.seeds, scores.values.mean(axis=1), strict=True):
        print(f"seed {seed}: return over the tasks {np.round(curve, 2).tolist()}")
    surgeries = [record for record in records if record["kind"] == "surgery"]
    units = sum(record["units_operated"] for record in surgeries)
    churn = max((record["churn_max"] for record in surgeries), default=0.0)
    print(f"units operated on: {units:.0f}, largest change of a value: {churn}")
    print(f"forgetting [seeds, tasks]: {np.round(transfer.forgetting(scores), 2).tolist()}")


if __name__ == "__main__":
    if sys.argv[1:]:
        show(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            show(trained(folder))
