"""Arguments of public functions, checked against what their annotations allow.

``slots: Count`` means for a function what it means for a field of the configuration, so that a
limit has one name (``schema``). Checked when the function is called, never in a compiled program.
"""

from __future__ import annotations

import inspect
from collections import abc
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache, wraps
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from jax.core import Tracer

from knife_jax.config.schema import TYPES, ConfigError, choice, converted, field_of, shown

P = ParamSpec("P")
R = TypeVar("R")
Rule = Callable[[Any, str], Any]
"""(value, name) -> the value as it is passed on; raises ValueError if it is not allowed"""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which refuses arguments that its annotations do not allow.

    Numbers, strings and booleans, tuples of them, functions, classes, and anything that carries a
    check of its own (``Annotated[..., check]``); other annotations allow anything. Numbers of NumPy
    and jax become Python's.

    Raises ValueError with one line: function, argument, value, what is allowed.
    """
    signature = inspect.signature(function)
    rules = cache(lambda: _rules(get_type_hints(function, include_extras=True)))

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if rule := rules().get(name):
                said = f"{function.__name__}: {name}"
                several = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
                bound.arguments[name] = (
                    tuple(rule(one, said) for one in value) if several else rule(value, said)
                )
        return function(*bound.args, **bound.kwargs)

    return call


def accepted(instance: Any, label: str) -> dict[str, Any]:
    """The fields that the class of an instance declares itself, checked like arguments."""
    rules = _rules_of_class(type(instance))
    return {n: rule(getattr(instance, n), f"{label}: {n}") for n, rule in rules.items()}


@cache
def _rules_of_class(kind: type) -> dict[str, Rule]:
    hints = get_type_hints(kind, include_extras=True)
    return _rules({name: hints[name] for name in kind.__annotations__})


def refuse(name: str, value: object, allowed: str) -> ConfigError:
    """The error for a value that is not allowed."""
    text = " ".join(shown(value).split())
    return ConfigError(f"{name}={text} is refused: must be {allowed}")


def _rules(hints: dict[str, Any]) -> dict[str, Rule]:
    found = {name: _rule(hint) for name, hint in hints.items() if name not in ("return", "parent")}
    return {name: rule for name, rule in found.items() if rule}


def _rule(hint: Any) -> Rule | None:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        hint = Annotated[str, choice(*parts)]
    if origin is Annotated and (own := [part for part in parts[1:] if inspect.isfunction(part)]):
        return own[0]
    if _is_scalar(hint):
        field = field_of(hint)
        return lambda value, name: converted(_plain(value), field, name)
    if origin is tuple and parts[1:] == (...,) and (each := _rule(parts[0])):
        return lambda value, name: _each(value, name, each)
    if origin is abc.Callable or getattr(hint, "_is_protocol", False):
        return _function
    if inspect.isclass(hint) and (issubclass(hint, tuple) or is_dataclass(hint)):
        return lambda value, name: _instance(value, name, hint)
    return None


def _is_scalar(hint: Any) -> bool:
    """Whether a hint means one of ``TYPES``, or one of them or None."""
    core = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(core) in (Union, UnionType):
        some = [part for part in get_args(core) if part is not NoneType]
        return len(some) == 1 and len(get_args(core)) == 2 and _is_scalar(some[0])
    return isinstance(core, type) and core in TYPES


def _plain(value: Any) -> Any:
    """A number of NumPy or jax as Python's; a number that only a compiled program knows is none."""
    if isinstance(value, Tracer) or getattr(value, "ndim", None) != 0:
        return value
    return value.item()


def _each(value: Any, name: str, rule: Rule) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise refuse(name, value, "a tuple")
    return tuple(rule(one, f"{name}[{i}]") for i, one in enumerate(value))


def _function(value: Any, name: str) -> Any:
    if not callable(value):
        raise refuse(name, value, "a function")
    return value


def _instance(value: Any, name: str, kind: type) -> Any:
    if not isinstance(value, kind):
        raise refuse(name, value, f"a {kind.__name__}")
    return value
