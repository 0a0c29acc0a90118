"""Environments from outside the package: ``"module:function"`` becomes an ``Env``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from knife_jax.config.custom import NO_TARGET, look_in_working_directory, no_module
from knife_jax.config.schema import ConfigError, shown, suggestion
from knife_jax.envs.base import Env, vectorise
from knife_jax.envs.check import check
from knife_jax.envs.contract import ContractError
from knife_jax.envs.inspection import why
from knife_jax.envs.tasks import Tasks, single


def make(target: str | None, args: Mapping[str, Any]) -> Tasks:
    """The environment that a function of the user's returns, checked.

    Raises ``ConfigError`` if it does not return one, or one that breaks its contract.
    """
    env = load(target, args)
    try:
        check(env)
    except ContractError as error:
        raise ConfigError(f"env.target={target} is refused: {error}") from None
    return single(partial(vectorise, env))


def load(target: str | None, args: Mapping[str, Any]) -> Env:
    """Import a function and call it.

    Args:
        target: ``"module:function"``, the module found in the working directory or installed.
        args: its keyword arguments.

    Returns:
        The environment, not checked yet.

    Raises:
        ConfigError: there is no such function, it does not take these arguments, it raises an
            error, or it does not return an ``Env``.
    """
    if target is None:
        raise ConfigError(NO_TARGET)
    function = _function(target)
    _check_arguments(target, function, args)
    try:
        made = function(**args)
    except (Exception, SystemExit) as error:  # whatever the user's code meets
        raise ConfigError(f"env.target={target} is refused: {why('it', error)}") from None
    if not isinstance(made, Env):
        kind = type(made).__name__
        raise ConfigError(
            f"env.target={target} is refused: it returns a value of type {kind}, must return an "
            "Env (knife_jax.envs)"
        )
    return made


def _function(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    refused = f"env.target={target} is refused:"
    look_in_working_directory()
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise no_module(target, error.name) from None
        raise ConfigError(f"{refused} {why(f'importing {module}', error)}") from None
    except (Exception, SystemExit) as error:  # whatever the user's code meets
        raise ConfigError(f"{refused} {why(f'importing {module}', error)}") from None
    if not hasattr(found, name):
        near = suggestion(name, [word for word in vars(found) if not word.startswith("_")])
        raise ConfigError(f"{refused} {module} has no {name!r}{near}")
    function = getattr(found, name)
    if not callable(function):
        kind = type(function).__name__
        raise ConfigError(f"{refused} it is of type {kind}, must be a function that returns an Env")
    return function


def _check_arguments(target: str, function: Callable, args: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` for an argument that the function lacks, or that it must have."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # of a function in C
        return
    takes = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        check_names(target, takes, args)
    for p in parameters:
        if p.name in takes and p.default is p.empty and p.name not in args:
            raise ConfigError(f"env.args.{p.name} is not set: {target} needs it")


def check_names(target: str, takes: Sequence[str], args: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` for an argument that is not among those that the target takes."""
    for name, value in args.items():
        if name not in takes:
            listed = f"takes {', '.join(takes)}" if takes else "takes no arguments"
            near = suggestion(name, takes)
            raise ConfigError(f"env.args.{name}={shown(value)} is refused: {target} {listed}{near}")
