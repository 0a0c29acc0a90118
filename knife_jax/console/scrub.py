"""Keep secrets out of configurations, logs and reports. Free of jax.

Two nets, neither of them a proof: values that the environment names as secrets, and what looks like
an access token. The forms of tokens are those of detect-secrets, and a few that it does not know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import cache

SECRET_NAME = re.compile(
    r"(?:key|token|secrets?|pass|passw(?:or)?ds?|passwd|passphrase|passcode|pwd|pw|pin|auth|bearer"
    r"|cred(?:ential)?s?|cookie|webhook|salt)(?=_|\d*\Z)",
    re.IGNORECASE,
)
"""environment variables that hold secrets, by a word of their names or the end of one"""

NO_SECRET_NAME = re.compile(
    r"\A(?:OLD)?PWD\Z|_(?:MODE|FILE|PATH|DIR|FOLDER|NAME|USER|TYPE|SOCK|HOST|METHOD|ALGORITHM"
    r"|COMMAND|ENABLED|REQUIRED|LENGTH|TTL|TIMEOUT)\Z",
    re.IGNORECASE,
)
"""names that are no secrets though they look so: ``PWD`` is the current folder"""

NO_SECRET = re.compile(
    r"\d{1,5}|true|false|none|null|auto|default|disabled|enabled|required|optional", re.IGNORECASE
)
"""values that hide nothing, whatever the variable is called"""

TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk|gh[opsru]|github_pat|glpat|hf|npm|xox[abeoprs]|wandb_v\d+)[-_][\w-]{16,}"
    r"|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{35}|eyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?"
    r"|[0-9a-f]{40}(?![A-Za-z0-9]))"
    r"|(?<=://)[^/\s@]+(?=@)"
)
"""tokens that detect-secrets does not know; W&B's older keys are 40 hex digits, and addresses can
hold a login"""

LOGIN = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")

TOO_LOOSE = ("Artifactory Credentials", "Public IP (ipv4)")
"""rules of detect-secrets that plain names meet (``APExperiment``), or that find no secrets"""

SHORTEST = 4
"""characters of a secret of the environment; shorter ones would hide plain words everywhere"""
DISTINCT, LONG = 8, 12
"""characters from which a value, or one of letters alone, is looked for inside of words, too"""
HIDDEN = "***"


def scrub(text: str) -> str:
    """The text, with what is secret replaced by stars."""
    for _, secret in _secrets():
        text = secret.sub(HIDDEN, text)
    text = TOKEN.sub(HIDDEN, text)
    for token in _known_tokens(text):
        text = text.replace(token, HIDDEN)
    return text


def leak(values: Mapping[str, object]) -> str | None:
    """The first field whose text holds a secret, in words that do not."""
    secrets = list(_secrets())
    for field, value in values.items():
        if isinstance(value, list):
            value = " ".join(map(str, value))
        if not isinstance(value, str):
            continue
        for name, secret in secrets:
            if secret.search(value):
                return f"{field} holds the secret of the environment variable {name}"
        if TOKEN.search(value) or any(_known_tokens(value)):
            return f"{field} holds what looks like an access token"
    return None


def _secrets() -> Iterator[tuple[str, re.Pattern[str]]]:
    """Environment variables that hold secrets, and what finds their values in a text."""
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and not NO_SECRET_NAME.search(name):
            if len(value.strip()) >= SHORTEST and not NO_SECRET.fullmatch(value):
                yield name, _pattern(value)
        elif login := LOGIN.search(value):
            yield name, _pattern(login[1])


@cache
def _pattern(secret: str) -> re.Pattern[str]:
    """A short value, or a word, is matched only if it stands alone: not ``open`` in ``opened``."""
    inside = len(secret) >= (LONG if secret.isalpha() else DISTINCT)
    escaped = r"\s+".join(map(re.escape, secret.split()))  # messages are of one line
    return re.compile(escaped if inside else rf"(?<![^\W_]){escaped}(?![^\W_])")


def _known_tokens(text: str) -> Iterator[str]:
    for detector in _detectors():
        yield from detector.analyze_string(text)


@cache
def _detectors() -> tuple:
    """The rules of detect-secrets for tokens of a known form."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.plugins.base import RegexBasedDetector

    return tuple(
        rules()  # type: ignore[abstract]
        for kind, rules in get_mapping_from_secret_type_to_class().items()
        if issubclass(rules, RegexBasedDetector) and kind not in TOO_LOOSE
    )
