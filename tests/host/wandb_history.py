"""What a W&B offline file holds: a log in LevelDB's format, of messages of W&B's protocol."""

import json
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

HEADER, BLOCK, BLOCK_HEADER = 7, 32768, 7
FULL, LAST = 1, 4


def history(path: Path) -> list[dict[str, Any]]:
    """The rows of the run's history, in the order in which ``wandb sync`` sends them."""
    records = [Record.FromString(content) for content in contents(path.read_bytes())]
    rows = [record.history for record in records if record.HasField("history")]
    return [
        {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row.item}
        for row in rows
    ]


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
