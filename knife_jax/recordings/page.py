"""The page of a recording: one file that opens without a network."""

from __future__ import annotations

import base64
import html
from importlib.resources import files
from string import Template

STYLE, SCRIPTS = "style.css", ("unpack.js", "paint.js", "arena.js", "network.js", "player.js")


def page(title: str, contents: bytes) -> str:
    """Put packed contents into the page."""
    folder = files("knife_jax.recordings") / "page"

    def read(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8").strip()

    texts = {
        "title": html.escape(title),
        "style": read(STYLE),
        "script": "\n".join(map(read, SCRIPTS)),
        "data": base64.b64encode(contents).decode(),
    }
    return Template(read("page.html")).substitute(texts) + "\n"


def contents_of(page: str) -> bytes:
    """The packed contents of a page: the inverse of ``page``."""
    start = '<script type="application/octet-stream" id="recording">'
    return base64.b64decode(page.partition(start)[2].partition("</script>")[0])
