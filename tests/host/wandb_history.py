"""What a W&B offline file holds: a log in LevelDB's format, of messages of W&B's protocol."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import wandb
from wandb.proto.wandb_internal_pb2 import Record

from knife_jax.records.series import over_tasks
from knife_jax.sinks import wandb as wandb_sink

HEADER, BLOCK, BLOCK_HEADER = 7, 32768, 7
FULL, LAST = 1, 4


def offline(folder: Path) -> Path:
    """The one offline file of a run directory."""
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    return path


def logged(folder: Path) -> list[dict[str, Any]]:
    """The history in the offline file of a run directory, without the times that W&B adds."""
    rows = history(offline(folder))
    return [{k: v for k, v in row.items() if k not in ("_timestamp", "_runtime")} for row in rows]


def moments(folder: Path) -> list[dict[str, Any]]:
    """What the history must be by the metrics of a run directory."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    groups = groupby(
        over_tasks([json.loads(line) for line in lines]),
        key=lambda row: (row["kind"], row["env_steps"]),
    )
    return [wandb_sink.history([*rows]) | {"_step": i} for i, (_, rows) in enumerate(groups)]


def history(path: Path) -> list[dict[str, Any]]:
    """The rows of the run's history, in the order in which ``wandb sync`` sends them."""
    rows = [record.history for record in records(path) if record.HasField("history")]
    return [
        {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row.item}
        for row in rows
    ]


def records(path: Path) -> list[Record]:
    """All messages of an offline file, of a run that is finished."""
    wandb.teardown()  # its own process has written all only when it has ended
    return [Record.FromString(content) for content in contents(path.read_bytes())]


def contents(log: bytes):
    """The records of a log, put together from their parts."""
    at, parts = HEADER, b""
    while at + BLOCK_HEADER <= len(log):
        if BLOCK - at % BLOCK < BLOCK_HEADER:  # the rest of a block is empty
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(log[at + 4 : at + 6], "little"), log[at + 6]
        at += BLOCK_HEADER
        parts += log[at : at + length]
        at += length
        if kind in (FULL, LAST):
            yield parts
            parts = b""
