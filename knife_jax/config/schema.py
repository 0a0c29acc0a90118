"""Sections of a configuration: frozen dataclasses that check their own fields.

A field says what it means and what it allows where it is declared:
``batch_size: Annotated[int, at_least(1), "windows in a batch"] = 64``.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any, ClassVar, NamedTuple, get_args, get_origin
from typing import get_type_hints as hints_of


class ConfigError(ValueError):
    """A configuration is refused. The message is one line: field, value, what is allowed."""


class Allowed(NamedTuple):
    """What a field accepts, beyond its type."""

    rule: str
    test: Callable[[Any], bool]
    options: Collection[str] = ()

    @property
    def text(self) -> str:
        """The rule and its options, in words."""
        return " ".join([self.rule, *([", ".join(self.options)] if self.options else [])])


def at_least(low: float) -> Allowed:
    """``low`` or more."""
    return Allowed(f"at least {low}", lambda x: x >= low)


def above(low: float) -> Allowed:
    """More than ``low``."""
    return Allowed(f"above {low}", lambda x: x > low)


def at_most(high: float) -> Allowed:
    """``high`` or less."""
    return Allowed(f"at most {high}", lambda x: x <= high)


def choice(*options: str | int) -> Allowed:
    """One of the options."""
    words = tuple(str(option) for option in options)
    return Allowed("one of", lambda x: x in options, words)


def key_of(table: Mapping[str, Any]) -> Allowed:
    """A name in a table, whatever is in it when a value is checked."""
    return Allowed("one of", lambda x: x in table, table.keys())


def word() -> Allowed:
    """A name that can be part of a file's name."""
    named = re.compile(r"\w[\w.+-]*")
    return Allowed("of letters, digits and _ . + -", lambda x: bool(named.fullmatch(x)))


INT32 = at_most(2**31 - 1)
PATH = Allowed("a path", lambda x: bool(x.strip()) and x != "???")  # which OmegaConf cannot hold

EXACT = at_most(2**53)
"""whole numbers that every reader of JSON keeps"""

Count = Annotated[int, at_least(1), INT32]
Few = Annotated[int, at_least(1), at_most(64)]
Size = Annotated[int, at_least(0), INT32]
Steps = Annotated[int, at_least(1), EXACT]
"""environment steps: they are counted in rounds, and may be more than 32 bits hold"""
StepsOrZero = Annotated[int, at_least(0), EXACT]
PositiveFraction = Annotated[float, above(0), at_most(1)]
Fraction = Annotated[float, at_least(0), at_most(1)]
Positive = Annotated[float, above(0)]
NotNegative = Annotated[float, at_least(0)]
Path = Annotated[str, PATH]


def is_plain(value: object) -> bool:
    """Whether YAML and JSON hold a value as it is."""
    if isinstance(value, Mapping):
        return all(isinstance(k, str) for k in value) and all(map(is_plain, value.values()))
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or isinstance(value, str | bool) or _is_finite(value)


NAMED = Allowed(
    "with a name for each value, and values of JSON (nan and inf are none)",
    lambda x: is_plain(x) and all(map(str.isidentifier, x)),
)
Named = Annotated[dict, NAMED]
"""values whose names no section declares"""


class Field(NamedTuple):
    """The declaration of one field."""

    type: Any
    optional: bool
    allowed: tuple[Allowed, ...]
    meaning: str

    def is_path(self) -> bool:
        """Whether the field holds a path, which is taken as it is typed."""
        return PATH in self.allowed

    def is_open(self) -> bool:
        """Whether the field holds values by names that are the user's own."""
        return NAMED in self.allowed

    def expects(self) -> str:
        """What the field accepts, in words: ``"a whole number, at least 1"``."""
        listed = self.is_path() or any(allowed.options for allowed in self.allowed)
        words = [] if listed else [TYPES[self.type]]
        return ", ".join([*words, *(a.text for a in self.allowed)]) + " or null" * self.optional


@dataclass(frozen=True, kw_only=True)
class Section:
    """A frozen part of the configuration. Raises ``ConfigError`` on what it does not allow."""

    section: ClassVar[str] = ""
    """the dotted prefix of its fields on the command line"""

    def __post_init__(self) -> None:
        for name, field in fields_of(type(self)).items():
            if not is_section(field.type):
                dotted = f"{self.section}.{name}".lstrip(".")
                object.__setattr__(self, name, converted(getattr(self, name), field, dotted))

    def beyond(self, *bases: type) -> dict[str, Any]:
        """The fields that none of the given classes declares, with their values."""
        known = {name for base in bases for name in fields_of(base)}
        return {name: getattr(self, name) for name in fields_of(type(self)) if name not in known}


LONGEST = 200
"""characters of a value that messages show"""

TYPES = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "a mapping",
}  # fmt: skip


def is_section(type_: Any) -> bool:
    """Whether a field's type is itself a section."""
    return isinstance(type_, type) and issubclass(type_, Section)


@cache
def fields_of(section: type) -> dict[str, Field]:
    """The declared fields of a section or of a part of one, in order."""
    return {
        name: field_of(hint)
        for name, hint in hints_of(section, include_extras=True).items()
        if get_origin(hint) is not ClassVar
    }


def field_of(hint: Any) -> Field:
    """What an annotation declares."""
    type_, extras = _parted(hint)
    parts = [part for part in get_args(type_) if part is not NoneType]
    inner, allowed = _parted(parts[0]) if parts else (type_, [])  # Count | None
    extras = [*allowed, *extras]
    return Field(
        type=inner,
        optional=bool(parts),
        allowed=tuple(extra for extra in extras if isinstance(extra, Allowed)),
        meaning=" ".join(extra for extra in extras if isinstance(extra, str)),
    )


def _parted(hint: Any) -> tuple[Any, list[Any]]:
    """What is annotated, and with what."""
    type_, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    return type_, extras


def converted(value: Any, field: Field, name: str) -> Any:
    """The value as the field's type, else a ``ConfigError``. Whole floats (1e6) pass as int."""
    if value is None and field.optional:
        return None
    number = False
    if isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
        number = True
        if field.type is float or (field.type is int and value == int(value)):
            value = field.type(value)
    right_type = type(value) is field.type and (number or field.type is not float)
    if right_type and all(allowed.test(value) for allowed in field.allowed):
        return value
    options = [word for allowed in field.allowed for word in allowed.options]
    given = f"{name}={shown(value)}"
    raise ConfigError(refusal(given, field.expects(), nearest(shown(value), options)))


def whole_number(value: Any, name: str, least: int, most: int = 2**31 - 1) -> int:
    """The value of an argument. Raises ``ConfigError`` if it is no whole number in its range."""
    try:
        value = operator.index(value)  # of NumPy, too
    except TypeError:
        value = repr(value)
    return converted(value, Field(int, False, (at_least(least), at_most(most)), ""), name)


def refusal(given: str, allowed: str, meant: str | None = None) -> str:
    """The line that refuses what was given; what may be meant is first, as lists can be long."""
    hint = "" if meant is None else f" (did you mean {meant!r}?)"
    return f"{given} is refused{hint}: must be {allowed}"


def suggestion(word: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """``"; did you mean 'x'?"`` for the nearest known word, or nothing."""
    near = nearest(word, known, cutoff)
    return "" if near is None else f"; did you mean {near!r}?"


def nearest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known word that is most like it, if any is."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except (OverflowError, TypeError):  # a whole number too large for any field, or no number
        return False


def shown(value: object) -> str:
    """A value as one would type it on the command line, always on one line and never endless."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**LONGEST:
        return f"(a number of over {LONGEST} digits)"
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:LONGEST]!r}... ({len(value):,} characters)"
    plain = isinstance(value, int | float) or (isinstance(value, str) and len(value.split()) == 1)
    return str(value) if plain else " ".join(repr(value).split())
