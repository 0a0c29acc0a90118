"""A recording as a film: gif, or mp4 by imageio-ffmpeg."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from PIL import Image

from knife_jax.recordings.pack import unpacked
from knife_jax.recordings.picture import SIZE, draw

PER_SECOND = 5
"""steps"""
PAUSE = 4
"""frames for which the end of an episode stays"""


def frames(packed: bytes) -> Iterator[Image.Image]:
    """A picture of each step of each episode; the last one several times."""
    header, arrays = unpacked(packed)
    for k, episode in enumerate(header["episodes"]):
        for t in range(episode["length"] + 1):
            picture = draw(header, arrays, k, t)
            yield from [picture] * (PAUSE if t == episode["length"] else 1)


def film(packed: bytes, form: Literal["gif", "mp4"]) -> bytes:
    """Draw all episodes, one after the other. An mp4 needs the extra ``video``."""
    return _mp4(frames(packed)) if form == "mp4" else _gif(frames(packed))


def _gif(pictures: Iterator[Image.Image]) -> bytes:
    first, *others = (picture.quantize(256, Image.Quantize.MAXCOVERAGE) for picture in pictures)
    out = io.BytesIO()
    first.save(out, "GIF", save_all=True, append_images=others, duration=1000 // PER_SECOND, loop=0)
    return out.getvalue()


def _mp4(pictures: Iterator[Image.Image]) -> bytes:
    # not by its writer, which forks: jax has threads
    from imageio_ffmpeg import get_ffmpeg_exe

    with TemporaryDirectory() as folder:
        path = Path(folder, "film.mp4")
        given = f"-f rawvideo -pix_fmt rgb24 -s {SIZE[0]}x{SIZE[1]} -r {PER_SECOND} -i -"
        words = [get_ffmpeg_exe(), "-v", "error", "-y", *given.split()]
        content = b"".join(picture.tobytes() for picture in pictures)
        subprocess.run([*words, "-pix_fmt", "yuv420p", str(path)], input=content, check=True)
        return path.read_bytes()
