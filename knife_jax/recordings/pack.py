"""Arrays in few bytes, as the page reads them."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

LEVEL = 6
"""of gzip"""


class Arrays:
    """The arrays of a recording, one after the other, and where each is."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def put(self, values: Any, **more: float) -> dict[str, Any]:
        """Keep an array, exactly (whole numbers up to 2^24), or one row if all are equal;
        return where it is."""
        array = np.asarray(values)
        if len(array) > 1 and np.array_equal(array, np.broadcast_to(array[:1], array.shape)):
            array = array[:1]
        kind = {"f": "f4", "b": "u1", "u": "u1", "i": "i2"}[array.dtype.kind]
        if array.dtype.kind in "ui" and not np.array_equal(array.astype(kind), array):
            kind = "f4"
        content = np.ascontiguousarray(array, "<" + kind).tobytes()
        place = {"at": self._size, "shape": list(array.shape), "type": kind, **more}
        content += bytes(-len(content) % 4)
        self._parts.append(content)
        self._size += len(content)
        return place

    def put_coarse(self, values: Any, low: float, high: float) -> dict[str, Any]:
        """Keep an array in 256 steps from ``low`` to ``high``."""
        unit = (high - low) / 255 or 1.0
        steps = np.clip(np.rint((np.asarray(values, np.float32) - low) / unit), 0, 255)
        return self.put(steps.astype(np.uint8), low=low, unit=unit)

    def packed(self, header: Mapping[str, Any]) -> bytes:
        """The file: gzip of the header, its length before it, and the arrays."""
        text = json.dumps(header, allow_nan=False, ensure_ascii=False).encode()
        text += b" " * (-len(text) % 4)
        content = struct.pack("<I", len(text)) + text + b"".join(self._parts)
        return gzip.compress(content, LEVEL, mtime=0)


def unpacked(content: bytes) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
    """The header of a packed file, and its arrays by where they are."""
    whole = gzip.decompress(content)
    (length,) = struct.unpack_from("<I", whole)
    header = json.loads(whole[4 : 4 + length])
    arrays = {}

    def find(value: Any) -> None:
        if isinstance(value, list):
            for one in value:
                find(one)
        elif isinstance(value, dict) and "at" not in value:
            find([*value.values()])
        elif isinstance(value, dict):
            size = int(np.prod(value["shape"]))
            array = np.frombuffer(whole, "<" + value["type"], size, 4 + length + value["at"])
            arrays[value["at"]] = array.reshape(value["shape"])

    find(header["episodes"])
    return header, arrays
