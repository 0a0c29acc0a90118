"""Secrets of the environment: never in a configuration, a log or a report. Free of jax."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

SECRET_NAME = re.compile(r"key|token|secret|passw|credential", re.IGNORECASE)
"""environment variables that hold secrets, by their names"""

TOKEN = re.compile(
    r"\b(?:sk|pk|rk|ghp|gho|ghs|glpat|hf|xox[abp])[-_][\w-]{16,}|\bAKIA[A-Z0-9]{16}\b"
    r"|\A[0-9a-f]{40}\Z|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
"""what access tokens look like; W&B's are 40 hex digits, addresses can hold a login"""

SHORTEST = 8
HIDDEN = "***"


def scrub(text: str) -> str:
    """The text, with what is secret replaced by stars."""
    for _, value in _secrets():
        text = text.replace(value, HIDDEN)
    return TOKEN.sub(HIDDEN, text)


def leak(values: Mapping[str, object]) -> str | None:
    """The first field whose text holds a secret, in words that do not."""
    for field, value in values.items():
        if not isinstance(value, str):
            continue
        for name, secret in _secrets():
            if secret in value:
                return f"{field} holds the secret of the environment variable {name}"
        if TOKEN.search(value):
            return f"{field} holds what looks like an access token"
    return None


def _secrets() -> Iterator[tuple[str, str]]:
    """Names and values of the environment variables that hold secrets.

    Plain words are none: ``MY_TOKEN_MODE=disabled`` must not hide every ``disabled``.
    """
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and len(value) >= SHORTEST and not value.isalpha():
            yield name, value
