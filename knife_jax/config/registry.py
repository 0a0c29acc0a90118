"""Tables of what a name in a configuration stands for: ``"module:name"``, imported when it is used.

A table holds words, so that the configuration stays free of jax. An entry that a program adds
before it composes its configuration counts as much as one of the package.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def resolve(reference: str) -> Any:
    """Import what ``"module:name"`` refers to.

    Raises ValueError for a reference of another form, ImportError if the module cannot be
    imported, and AttributeError if it has no such name.
    """
    module, colon, name = reference.partition(":")
    if not (module and colon and name):
        raise ValueError(f"{reference!r} is refused: must be 'module:name'")
    return getattr(import_module(module), name)
