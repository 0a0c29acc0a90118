"""A cell of a notebook as a place to draw in: one output, replaced in place."""

from __future__ import annotations

import io
import sys
from typing import Any

from rich.console import Console, RenderableType

WIDTH = 100
"""characters of a line"""

PAGE = '<pre style="line-height:1.3;font-size:13px">{code}</pre>'


def in_notebook() -> bool:
    """Whether a cell of a notebook (Jupyter, VS Code, Colab) is being run."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


class Cell:
    """Shows pictures of rich as HTML, with their text for what shows none."""

    def __init__(self) -> None:
        self._output: Any = None

    def start(self) -> None:
        """Nothing to prepare: the output comes with the first picture."""

    def update(self, renderable: RenderableType, *, refresh: bool = False) -> None:
        """Show a picture in the place of the one before."""
        from IPython.display import display

        console = Console(file=io.StringIO(), record=True, width=WIDTH, force_jupyter=False)
        console.print(renderable)
        text = console.export_text(clear=False)
        html = console.export_html(code_format=PAGE, inline_styles=True)
        picture = {"text/plain": text, "text/html": html}
        if self._output is None:
            self._output = display(picture, raw=True, display_id=True)
        else:
            self._output.update(picture, raw=True)

    def stop(self) -> None:
        """Leave the last picture where it is."""
